"""TEMP"""
import tensorflow as tf
def gram(deltas):
    out=0.
    for d in deltas:
        f=tf.cast(tf.reshape(d,[tf.shape(d)[0],-1]),tf.float64); out+=tf.matmul(f,f,transpose_b=True)
    return out
def cosine(g):
    n=tf.sqrt(tf.maximum(tf.linalg.diag_part(g),1e-30)); return g/(n[:,None]*n[None])
