"""Sensitivity metrics: what quantizing a layer costs, without or beside an accuracy sweep.

Every score is an ``xarray.DataArray`` (a ``Dataset`` where it has an error) with those of the
dimensions class, layer and bits that it has: class by label, layers in the order of execution (or
as chosen), bits as given. ``groups={name: labels}`` gives group in the place of class, each class
of a group counting the same. All work on any :class:`~ltqlib.models.graph.Graph`; what needs layers
in quantized form takes them from :func:`ltqlib.quantization.variants`. :func:`measure` gives all
scores at once.

=====================  ==============================  ===========================================
score                  needs                           more sensitive is
=====================  ==============================  ===========================================
loss_increase          logits of quantized models      larger (negative: the loss went down)
kl_divergence          logits of quantized models      larger
called_tail            predictions, no label           smaller (fewer images are called tail)
logit_gap              logits, no label                smaller (the tail's logits fall)
sqnr                   weights                         smaller (dB)
output_sqnr            weights, images                 smaller (dB)
fisher, fit            gradients of single images      larger
hessian_trace          Hessian products                larger (times the noise: ``perturbation``)
top_eigenvalue         Hessian products                larger
gradient_importance    gradients of classes            larger
taylor                 gradients of classes            larger (negative: the loss should go down)
learned_importance     a few training steps            larger
=====================  ==============================  ===========================================
"""

from ltqlib.importance.curvature import hessian_trace, top_eigenvalue
from ltqlib.importance.gradients import fisher, fit, gradient_importance, taylor
from ltqlib.importance.groups import image_shares
from ltqlib.importance.learned import learned_importance
from ltqlib.importance.measure import measure
from ltqlib.importance.noise import output_sqnr, perturbation, sqnr, squared_noise
from ltqlib.importance.outputs import (
    called_tail,
    kl_divergence,
    logit_gap,
    loss_increase,
    one_layer_logits,
)

__all__ = [
    "called_tail",
    "fisher",
    "fit",
    "gradient_importance",
    "hessian_trace",
    "image_shares",
    "kl_divergence",
    "learned_importance",
    "logit_gap",
    "loss_increase",
    "measure",
    "one_layer_logits",
    "output_sqnr",
    "perturbation",
    "sqnr",
    "squared_noise",
    "taylor",
    "top_eigenvalue",
]
