"""Sensitivity metrics: what quantizing a layer costs, without or beside an accuracy sweep.

Every score is an ``xarray.DataArray`` with those of the dimensions class, layer and bits that it
has: class by label, layers in the order of execution, bits as given. The mean over the classes of a
group is the score of the group. All work on any :class:`~ltqlib.models.graph.Graph`; what needs
layers in quantized form takes them from :func:`ltqlib.quantization.variants`. :func:`measure` gives
all scores at once.

==============  ==============================  ================================================
score           needs                           more sensitive is
==============  ==============================  ================================================
sqnr            weights                         smaller (dB)
output_sqnr     weights, images                 smaller (dB)
called_tail     logits, no label                smaller (fewer images are called tail)
logit_gap       logits, no label                smaller (the tail's logits fall)
kl              logits, no label                larger
accuracy_drop   logits of quantized models      larger (points)
loss_increase   logits of quantized models      larger (negative: the loss went down)
taylor          gradients of classes            larger (negative: the loss should go down)
fisher          gradients of single images      larger (times the noise: FIT)
hessian_trace   Hessian products                larger (times the noise: HAWQ-v2)
==============  ==============================  ================================================
"""

from ltqlib.importance.derivatives import fisher, hessian_trace, taylor
from ltqlib.importance.measure import measure
from ltqlib.importance.noise import output_sqnr, perturbation, sqnr, squared_noise
from ltqlib.importance.outputs import (
    accuracy_drop,
    called_tail,
    kl_divergence,
    logit_gap,
    loss_increase,
    one_layer_logits,
)

__all__ = [
    "accuracy_drop",
    "called_tail",
    "fisher",
    "hessian_trace",
    "kl_divergence",
    "logit_gap",
    "loss_increase",
    "measure",
    "one_layer_logits",
    "output_sqnr",
    "perturbation",
    "sqnr",
    "squared_noise",
    "taylor",
]
