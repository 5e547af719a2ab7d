"""Sensitivity metrics: what quantizing a layer costs, without or beside an accuracy sweep.

Every score has the axes (groups, layers), (layers, widths) or (groups, layers, widths), float64:
groups in the order of the mapping given (:func:`each_class` for single classes), layers in the
order of execution (or as named in ``layers``), widths as given. Within a group each class counts
the same, as in :func:`ltqlib.first.metrics.group_accuracy`. Networks are folded and in eval mode, and
only :func:`ltqlib.first.models.quantizable_layers` is asked what their layers are.

=====================  ==========================  ===============================================
score                  needs                       more sensitive is
=====================  ==========================  ===============================================
loss_increase          outputs of quantized nets   larger (negative: the loss went down)
kl_divergence          outputs of quantized nets   larger
sqnr                   weights                     smaller (dB)
output_sqnr            weights, images             smaller (dB)
fisher, fit            gradients of single images  larger
hessian_trace          Hessian products            larger (times the noise: ``perturbation``)
top_eigenvalue         Hessian products            larger
gradient_importance    gradients of groups         larger
taylor                 gradients of groups         larger (negative: the loss should go down)
learned_importance     a few training steps        larger
=====================  ==========================  ===============================================
"""

from ltqlib.first.importance.fisher import fisher, fit
from ltqlib.first.importance.gradients import gradient_importance, reduce_groups, taylor
from ltqlib.first.importance.groups import each_class
from ltqlib.first.importance.hessian import hessian_trace, top_eigenvalue
from ltqlib.first.importance.learned import learned_importance
from ltqlib.first.importance.noise import output_sqnr, perturbation, sqnr, squared_noise
from ltqlib.first.importance.outputs import kl_divergence, loss_increase, one_layer_quantized

__all__ = [
    "each_class",
    "fisher",
    "fit",
    "gradient_importance",
    "hessian_trace",
    "kl_divergence",
    "learned_importance",
    "loss_increase",
    "one_layer_quantized",
    "output_sqnr",
    "perturbation",
    "reduce_groups",
    "sqnr",
    "squared_noise",
    "taylor",
    "top_eigenvalue",
]
