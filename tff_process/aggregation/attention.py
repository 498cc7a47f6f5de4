"""TEMP"""
import tensorflow as tf
from tff_process.aggregation.gram import cosine
def attention(gram, counts, present, tau, log_counts):
    s=cosine(gram)/tau
    if log_counts: s+=tf.math.log(tf.cast(tf.maximum(counts,1.),tf.float64))[None]
    s=tf.where(present[None], s, tf.constant(-1e30,tf.float64))
    a=tf.nn.softmax(s)
    return tf.where(present[:,None], a, tf.eye(tf.shape(s)[0],dtype=tf.float64))
