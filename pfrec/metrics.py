"""TEMP lead version; to be replaced."""
import tensorflow as tf
METRICS = ("auc", "gauc", "logloss", "ece", "rows", "positives")
def auc(labels, scores, observed):
    s=tf.boolean_mask(scores,observed); y=tf.cast(tf.boolean_mask(labels,observed),tf.float64)
    order=tf.argsort(s,stable=True); s=tf.gather(s,order); y=tf.gather(y,order)
    n=tf.size(s)
    new=tf.concat([tf.ones([tf.minimum(n,1)],tf.bool), tf.not_equal(s[1:],s[:-1])],0)
    seg=tf.cumsum(tf.cast(new,tf.int32))-1
    k=tf.cast(tf.reduce_max(tf.concat([seg,[-1]],0))+1,tf.int32)
    cnt=tf.math.unsorted_segment_sum(tf.ones_like(y),seg,k)
    pos=tf.math.unsorted_segment_sum(y,seg,k)
    end=tf.cumsum(cnt); rank=end-cnt+(cnt+1)/2
    P=tf.reduce_sum(pos); N=tf.cast(n,tf.float64)-P
    a=(tf.reduce_sum(rank*pos)-P*(P+1)/2)/(P*N)
    return tf.where((P>0)&(N>0),a,tf.constant(float('nan'),tf.float64))
def evaluate(labels, logits, groups=None):
    out=[]
    nan=tf.constant(float('nan'),tf.float64)
    for t in range(logits.shape[1]):
        l=labels[:,t]; ob=tf.not_equal(l,255); y=tf.cast(tf.equal(l,1),tf.float64); z=tf.cast(logits[:,t],tf.float64)
        yy=tf.boolean_mask(y,ob); zz=tf.boolean_mask(z,ob)
        ll=tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=yy,logits=zz))
        out.append(tf.stack([auc(y,logits[:,t],ob),nan,ll,nan,tf.cast(tf.size(yy),tf.float64),tf.reduce_sum(yy)]))
    return tf.stack(out)
