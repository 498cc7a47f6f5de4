"""TEMP"""
import tensorflow as tf
def mean(present, weights=None):
    p=tf.cast(present,tf.float64); return p/tf.reduce_sum(p)
def conflict_averse(gram, present, c):
    m=mean(present); p=tf.cast(present,tf.float64)
    gm=tf.linalg.matvec(gram,m); b=tf.sqrt(tf.maximum(tf.reduce_sum(m*gm),1e-30))
    w=m
    sc=tf.reduce_max(tf.linalg.diag_part(gram))+1e-30
    for i in range(200):
        gw=tf.linalg.matvec(gram,w); nw=tf.sqrt(tf.maximum(tf.reduce_sum(w*gw),1e-30))
        g=(gm+c*b*gw/nw)/sc
        w=w*tf.exp(-5.*(g-tf.reduce_sum(w*g)))*p; w=w/tf.reduce_sum(w)
    nw=tf.sqrt(tf.maximum(tf.reduce_sum(w*tf.linalg.matvec(gram,w)),1e-30))
    return (m+c*b/nw*w)/(1+c*c)
def pcgrad(gram, present): return mean(present)
def conflict_share(gram, present):
    return tf.reduce_mean(tf.cast(gram<0,tf.float32))
