"""TEMP"""
import tensorflow as tf
def along(v, like):
    return tf.reshape(v, tf.concat([[tf.size(v)], tf.ones([tf.rank(like)-1],tf.int32)],0))
def weighted_mean(values, weights):
    w=weights/tf.reduce_sum(weights)
    return tf.einsum('n,n...->...', tf.cast(w,values.dtype), values)
def combine(matrix, values):
    return tf.einsum('kn,n...->k...', tf.cast(matrix,values.dtype), values)
def personalise(local, attended, mu, present):
    return (1-mu)*local+mu*attended
def mean_by_rows_seen(values, seen, previous):
    total=tf.reduce_sum(seen,0)[:,None]
    return tf.where(total>0, tf.einsum('nv,nvd->vd',seen,values)/tf.maximum(total,1.), previous)
