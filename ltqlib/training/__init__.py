"""Training: one visible loop for both stages, the recipes of the field, and decoupling.

Recipes are fields of :class:`ltqlib.config.RunConfig`; at their defaults nothing of them happens.

=====================================  =========================================================
field                                  what it does, and where it is from
=====================================  =========================================================
``mixup``                              images mixed in pairs (Zhang et al., 2018)
``sam``                                sharpness-aware minimization (Foret et al., 2021; Rangwani
                                       et al., NeurIPS 2022)
``ema``, ``swa``                       averaged weights (Tarvainen and Valpola, 2017; Izmailov et
                                       al., 2018)
``schedule = "constant"``              no decay of the learning rate
``weight_decay``                       of every parameter (Alshammari et al., CVPR 2022)
``smoothing``                          label smoothing (Szegedy et al., 2016)
``loss``                               balanced softmax, logit adjustment, LDAM-DRW and others
``deferred``                           classes re-weighted or re-sampled late: DRW, DRS (Cao et
                                       al., 2019)
``stage2_smooth_head``, ``_tail``      label-aware smoothing (MiSLAS; Zhong et al., CVPR 2021)
``stage2_norm = "shifted"``            shifted BatchNorm (MiSLAS)
``holdout``                            training images kept away, for choosing among these
=====================================  =========================================================
"""

from ltqlib.training.decoupling import decouple_network
from ltqlib.training.devices import find_device, has_bf16_units
from ltqlib.training.following import Follow, Snapshot
from ltqlib.training.heads import (
    extract_features,
    head_of,
    logit_adjusted,
    nearest_class_mean,
    tau_normalized,
)
from ltqlib.training.holdout import training_part
from ltqlib.training.stage1 import train_network

__all__ = [
    "Follow",
    "Snapshot",
    "decouple_network",
    "extract_features",
    "find_device",
    "has_bf16_units",
    "head_of",
    "logit_adjusted",
    "nearest_class_mean",
    "tau_normalized",
    "train_network",
    "training_part",
]
