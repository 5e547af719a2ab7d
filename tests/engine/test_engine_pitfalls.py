"""One tiny model for each thing that goes wrong with models of other people."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from plain_way import all_logits, one_layer_at_a_time, plain, ready, weight_variants
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ltqlib.engine import predict
from ltqlib.errors import InputError
from ltqlib.models import Graph

SIDE, CLASSES = 8, 5


class Net(nn.Module):
    """``forward`` from a function of the module, so that a model is a few lines."""

    def __init__(self, forward, **parts) -> None:
        super().__init__()
        self.function = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.function(self, x)


def pooled(x):
    return x.mean((2, 3))


def same_padding():
    convolution = nn.Conv2d(3, 6, 3, padding="same", dilation=2)
    return Net(lambda m, x: m.head(pooled(m.conv(x))), conv=convolution, head=nn.Linear(6, CLASSES))


def transposed():
    return Net(
        lambda m, x: m.head(pooled(m.second(m.norm(m.first(x)).relu()))),
        first=nn.ConvTranspose2d(3, 8, 3, stride=2, output_padding=1),
        norm=nn.BatchNorm2d(8),
        second=nn.ConvTranspose2d(8, 6, 3, groups=2, bias=False),
        head=nn.Linear(6, CLASSES),
    )


def transposed_grouped_norm():
    return Net(
        lambda m, x: m.head(pooled(m.norm(m.up(m.conv(x))))),
        conv=nn.Conv2d(3, 4, 1),
        up=nn.ConvTranspose2d(4, 6, 2, groups=2),
        norm=nn.BatchNorm2d(6),
        head=nn.Linear(6, CLASSES),
    )


def grouped():
    return Net(
        lambda m, x: m.head(pooled(m.depthwise(F.relu(m.norm(m.grouped(m.conv(x))))))),
        conv=nn.Conv2d(3, 8, 3, bias=False),
        grouped=nn.Conv2d(8, 12, 3, groups=4),
        norm=nn.BatchNorm2d(12),
        depthwise=nn.Conv2d(12, 12, 3, groups=12, padding=1),
        head=nn.Linear(12, CLASSES),
    )


def one_dimension():
    return Net(
        lambda m, x: m.head(m.norm(m.conv(x.flatten(2))).relu().mean(2)),
        conv=nn.Conv1d(3, 6, 5, stride=3),
        norm=nn.BatchNorm1d(6),
        head=nn.Linear(6, CLASSES),
    )


def three_dimensions():
    return Net(
        lambda m, x: m.head(m.norm(m.conv(x.unsqueeze(1))).relu().mean((2, 3, 4))),
        conv=nn.Conv3d(1, 6, (2, 3, 3), padding=(0, 1, 1)),
        norm=nn.BatchNorm3d(6),
        head=nn.Linear(6, CLASSES),
    )


def lstm():
    return Net(
        lambda m, x: m.head(m.lstm(m.embed(x.flatten(2).transpose(1, 2)))[0][:, -1]),
        embed=nn.Linear(3, 6),
        lstm=nn.LSTM(6, 6, batch_first=True),
        head=nn.Linear(6, CLASSES),
    )


def attention():
    def forward(m, x):
        tokens = m.embed(x).flatten(2).transpose(1, 2) + m.position
        return m.head(m.mixer(m.norm(tokens)).mean(1))

    return Net(
        forward,
        embed=nn.Conv2d(3, 8, 4, stride=4),
        position=nn.Parameter(torch.randn(1, 4, 8)),
        norm=nn.LayerNorm(8),
        mixer=nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True),
        head=nn.Linear(8, CLASSES),
    )


def sequence_first():
    def forward(m, x):
        tokens = m.embed(x).flatten(2).permute(2, 0, 1)  # (tokens, images, channels)
        mixed, _ = m.attention(tokens, tokens, tokens, need_weights=False)
        return m.head(m.last(mixed + tokens).mean(0))

    return Net(
        forward,
        embed=nn.Conv2d(3, 8, 4, stride=4),
        attention=nn.MultiheadAttention(8, 2),
        last=nn.Linear(8, 8),
        head=nn.Linear(8, CLASSES),
    )


def windows():
    def forward(m, x):
        y = m.conv(x)
        images, channels = y.shape[:2]
        y = y.view(images, channels, 2, 4, 2, 4).permute(0, 2, 4, 3, 5, 1)
        y = m.inside(y.reshape(images * 4, 16, channels)).relu()  # windows in the batch
        y = m.across(y.mean(1)).view(images, 4, channels)
        return m.head(y.amax(1))

    return Net(
        forward,
        conv=nn.Conv2d(3, 6, 3, padding=1),
        inside=nn.Linear(6, 6),
        across=nn.Linear(6, 6),
        head=nn.Linear(6, CLASSES),
    )


def images_inside():
    def forward(m, x):
        y = m.conv(x).flatten(2).permute(2, 0, 1)  # (pixels, images, channels)
        y = m.mixer(y.reshape(-1, 6)).relu()  # images behind pixels in the first axis
        return m.head(y.view(64, -1, 6).mean(0))

    return Net(
        forward, conv=nn.Conv2d(3, 6, 3, padding=1), mixer=nn.Linear(6, 6), head=nn.Linear(6, 5)
    )


def views():
    def forward(m, x):
        y = m.conv(x)
        y = y.view(y.shape[0], 2, 3, 64).transpose(1, 2).contiguous().view(-1, 6, 8, 8)
        return m.head(m.second(y).view(-1, 4 * 64))

    return Net(
        forward,
        conv=nn.Conv2d(3, 6, 3, padding=1),
        second=nn.Conv2d(6, 4, 3, padding=1),
        head=nn.Linear(4 * 64, CLASSES),
    )


def casts():
    def forward(m, x):
        y = m.conv(x)
        y = (y.double() / y.double().square().mean((1, 2, 3), keepdim=True).sqrt()).float()
        return m.head(pooled(m.second(y)))

    return Net(forward, conv=nn.Conv2d(3, 6, 3), second=nn.Conv2d(6, 6, 3), head=nn.Linear(6, 5))


def tied():
    shared = nn.Conv2d(6, 6, 3, padding=1)
    other = nn.Conv2d(6, 6, 3, padding=1)
    other.weight = shared.weight

    def forward(m, x):
        y = m.shared(m.first(x)).relu()
        y = m.norm(m.shared(m.between(y))).relu()
        return m.head(pooled(m.other(y)))

    return Net(
        forward,
        first=nn.Conv2d(3, 6, 3),
        shared=shared,
        between=nn.Conv2d(6, 6, 1),
        norm=nn.BatchNorm2d(6),
        other=other,
        head=nn.Linear(6, CLASSES),
    )


def tied_as_it_is_and_transposed():
    def forward(m, x):
        y = F.linear(x.flatten(1), m.weight).relu()
        return m.head(y @ m.weight)

    return Net(forward, weight=nn.Parameter(torch.randn(7, 192) / 14), head=nn.Linear(192, CLASSES))


def norms_that_stay():
    def forward(m, x):
        y = m.conv(m.before(x))  # in front of a convolution
        z = m.twice(y).relu() + y  # the convolution is read twice
        z = m.tokens(m.linear(z.flatten(2).transpose(1, 2)))  # along tokens, not channels
        return m.head(z.mean(1))

    return Net(
        forward,
        before=nn.BatchNorm2d(3),
        conv=nn.Conv2d(3, 6, 3, padding=1),
        twice=nn.BatchNorm2d(6),
        linear=nn.Linear(6, 6),
        tokens=nn.BatchNorm1d(64),
        head=nn.Linear(6, CLASSES),
    )


def norm_behind_linear():
    return Net(
        lambda m, x: m.head(m.plain(m.linear(m.norm(m.first(x.flatten(1))).relu()))),
        first=nn.Linear(192, 12, bias=False),
        norm=nn.BatchNorm1d(12),
        linear=nn.Linear(12, 12),
        plain=nn.BatchNorm1d(12, affine=False),
        head=nn.Linear(12, CLASSES),
    )


def parametrized():
    return Net(
        lambda m, x: m.head(pooled(m.conv(x)).relu()),
        conv=nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 6, 3)),
        head=nn.Linear(6, CLASSES),
    )


def bare_parameters():
    def forward(m, x):
        gate = (m.table[m.index] * m.scale).sum(0)  # computed from parameters alone
        return m.head(((x.flatten(1) @ m.weight).relu() + gate) * m.factor)

    net = Net(
        forward,
        weight=nn.Parameter(torch.randn(192, 7) / 14),
        table=nn.Parameter(torch.randn(9, 7)),
        scale=nn.Parameter(torch.randn(2, 1)),
        factor=nn.Parameter(torch.rand(1, 7)),
        unused=nn.Linear(3, 3),
        head=nn.Linear(7, CLASSES),
    )
    net.register_buffer("index", torch.tensor([2, 5]))
    return net


def bilinear():
    return Net(
        lambda m, x: m.head(m.both(m.first(x.flatten(1)), x.mean((2, 3)))),
        first=nn.Linear(192, 6),
        both=nn.Bilinear(6, 3, 7),
        head=nn.Linear(7, CLASSES),
    )


def squeezed():
    return Net(
        lambda m, x: m.head(F.adaptive_avg_pool2d(m.conv(x), 1).squeeze()),
        conv=nn.Conv2d(3, 6, 3),
        head=nn.Linear(6, CLASSES),
    )


def in_place():
    def forward(m, x):
        y = m.conv(x)
        kept = y * 1
        y.relu_()
        y += m.second(kept)
        y[:, 0] = 0
        return m.head(pooled(y))

    return Net(
        forward,
        conv=nn.Conv2d(3, 6, 3, padding=1),
        second=nn.Conv2d(6, 6, 1),
        head=nn.Linear(6, CLASSES),
    )


def parts_of_a_tuple():
    def forward(m, x):
        first, second = m.conv(x).chunk(2, dim=1)
        return m.head(pooled(m.left(first) + second))

    return Net(
        forward,
        conv=nn.Conv2d(3, 8, 3, padding=1),
        left=nn.Conv2d(4, 4, 3, padding=1),
        head=nn.Linear(4, CLASSES),
    )


def small_maps():
    def forward(m, x):
        y = m.down(F.max_pool2d(m.first(x), 2).relu()).relu()  # 4x4 to 2x2, with stride
        return m.head(m.wide(m.tiny(y).relu()).flatten(1))

    return Net(
        forward,
        first=nn.Conv2d(3, 6, 3, padding=1),
        down=nn.Conv2d(6, 6, 5, stride=2, padding=2),  # 16 pixels, 25 taps
        tiny=nn.Conv2d(6, 6, 3, padding=1, bias=False),
        wide=nn.Conv2d(6, 4, (3, 1), padding=(2, 1), dilation=(2, 1)),
        head=nn.Linear(4 * 2 * 4, CLASSES),
    )


MODELS = (
    same_padding,
    transposed,
    transposed_grouped_norm,
    grouped,
    one_dimension,
    three_dimensions,
    lstm,
    attention,
    sequence_first,
    windows,
    images_inside,
    views,
    casts,
    tied,
    tied_as_it_is_and_transposed,
    norms_that_stay,
    norm_behind_linear,
    parametrized,
    bare_parameters,
    bilinear,
    squeezed,
    in_place,
    parts_of_a_tuple,
    small_maps,
)


@pytest.fixture(scope="module")
def traced():
    """``make -> (module, graph, images)``, traced once a module."""
    made = {}

    def get(make):
        if make not in made:
            torch.manual_seed(0)
            module, images = make(), torch.randn(12, 3, SIDE, SIDE)
            ready(module, images)
            made[make] = module, Graph.trace(module, images[:1]), images
        return made[make]

    return get


@pytest.mark.parametrize("make", MODELS)
def test_logits_sweep_and_costs_are_those_of_the_module(traced, make):
    module, graph, images = traced(make)
    with torch.no_grad():
        expected = module(images)
    torch.testing.assert_close(graph.logits(images), expected, rtol=1e-4, atol=1e-5)
    variants, rows = weight_variants(graph, (3, 8)), one_layer_at_a_time(graph, (3, 8))
    rows = np.concatenate([rows, np.full_like(rows[:1], 3)])
    each = plain(graph, variants, rows, images)
    found = predict(graph, variants, rows, images, all_logits, precision="float32")["logits"]
    np.testing.assert_allclose(found, each, rtol=0, atol=1e-4)
    assert np.abs(each - each[0]).max((1, 2))[1:].min() > 0  # every layer matters
    auto = predict(graph, variants, rows, images)["predicted"]
    np.testing.assert_array_equal(auto, each.argmax(-1))


@pytest.mark.parametrize("make", MODELS)
def test_every_weight_is_a_layer_or_named_as_skipped(traced, make):
    module, graph, _ = traced(make)
    layers = {name: layer.parameters for name, layer in graph.layers.items()}
    assert set(layers).isdisjoint(graph.skipped)
    weights = {id(p): p for p in module.parameters() if p.ndim >= 2}
    skipped = sum(module.get_parameter(name).numel() for name in graph.skipped)
    made = sum(layers.values())
    if make is parametrized:  # its weight is made from two parameters
        made += 6
    assert made + skipped == sum(p.numel() for p in weights.values())


@pytest.mark.parametrize(
    "make", [m for m in MODELS if m not in (lstm, attention, sequence_first, bilinear)]
)
def test_macs_are_those_of_the_flop_counter(traced, make):
    module, graph, images = traced(make)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(images[:2])
    macs = sum(layer.macs for layer in graph.layers.values())
    assert 2 * 2 * macs == counter.get_total_flops()


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (transposed, {"first": "transposed", "second": "transposed", "head": "linear"}),
        (grouped, {"conv": "conv", "grouped": "grouped", "depthwise": "depthwise"}),
        (attention, {"mixer.self_attn.in_proj": "linear", "mixer.self_attn.out_proj": "linear"}),
        (bare_parameters, {"weight": "linear"}),
        (parametrized, {"conv": "conv"}),
        (tied, {"first": "conv", "shared": "conv", "between": "conv", "head": "linear"}),
    ],
)
def test_kinds_and_names(traced, make, expected):
    _, graph, _ = traced(make)
    kinds = {name: layer.kind for name, layer in graph.layers.items()}
    assert expected.items() <= kinds.items()


def test_weights_have_their_outputs_first(traced):
    shapes = {name: layer.weight_shape for name, layer in traced(transposed)[1].layers.items()}
    assert shapes == {"first": (8, 3, 3, 3), "second": (6, 4, 3, 3), "head": (5, 6)}
    module, graph, _ = traced(bare_parameters)
    assert torch.equal(graph.weight("weight"), module.weight.t())
    module, graph, _ = traced(transposed)
    grouped_weight = module.second.weight.detach()  # (C_in, C_out / groups, 3, 3)
    assert torch.equal(graph.weight("second")[4], grouped_weight[4:, 1])


def test_tied_weights_are_one_layer_with_several_sites(traced):
    module, graph, _ = traced(tied)
    assert len(graph.layers["shared"].sites) == 3
    assert torch.equal(graph.weight("shared"), module.shared.weight)  # not folded at one of them
    _, graph, _ = traced(tied_as_it_is_and_transposed)
    assert len(graph.layers["weight"].sites) == 2


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lstm, {"lstm.weight_ih_l0": "lstm", "lstm.weight_hh_l0": "lstm"}),
        (attention, {"position": "add"}),
        (
            bare_parameters,
            {"table": "add", "scale": "add", "factor": "mul", "unused.weight": "not used"},
        ),
        (bilinear, {"both.weight": "bilinear"}),
    ],
)
def test_what_cannot_be_quantized_is_named_with_the_reason(traced, make, names):
    _, graph, _ = traced(make)
    assert graph.skipped.keys() == names.keys()
    for name, reason in names.items():
        assert reason in graph.skipped[name]


def test_batchnorm_stays_where_it_cannot_be_folded(traced):
    _, graph, _ = traced(norms_that_stay)
    left = [n for n in graph.traced.graph.nodes if n.target == torch.ops.aten.batch_norm.default]
    assert len(left) == 3
    for make in (norm_behind_linear, transposed, transposed_grouped_norm, three_dimensions):
        targets = [node.target for node in traced(make)[1].traced.graph.nodes]
        assert torch.ops.aten.batch_norm.default not in targets


def mixes_images():
    def forward(m, x):
        y = m.conv(x)
        return m.head(pooled(y - y.mean(0, keepdim=True)))

    return Net(forward, conv=nn.Conv2d(3, 6, 3), head=nn.Linear(6, CLASSES))


def batch_statistics():
    return Net(
        lambda m, x: m.head(pooled(m.norm(m.conv(x)))),
        conv=nn.Conv2d(3, 6, 3),
        norm=nn.BatchNorm2d(6, track_running_stats=False),
        head=nn.Linear(6, CLASSES),
    )


def noisy():
    return Net(
        lambda m, x: m.head(F.dropout(pooled(m.conv(x)), 0.5, True)),
        conv=nn.Conv2d(3, 6, 3),
        head=nn.Linear(6, CLASSES),
    )


def branching():
    return Net(
        lambda m, x: m.head(pooled(x) if x.sum() > 0 else pooled(-x)), head=nn.Linear(3, CLASSES)
    )


def counting():
    """A size that is read from a tensor: torch.export prints the whole program about it."""
    return Net(
        lambda m, x: m.head(pooled(x)) + torch.arange(torch.tensor(len(x)).item()).float()[:, None],
        head=nn.Linear(3, CLASSES),
    )


def one_batch_size():
    return Net(lambda m, x: m.head(x.reshape(2, 3, -1).mean(2)), head=nn.Linear(3, CLASSES))


def two_results():
    return Net(lambda m, x: (m.head(pooled(x)), x), head=nn.Linear(3, CLASSES))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (mixes_images, "depends on several images at once"),
        (batch_statistics, "depends on several images at once|does not run on 1 images"),
        (noisy, "depends on several images at once, or on chance"),
        (branching, "cannot be traced by torch.export"),
        (counting, "cannot be traced by torch.export"),
        (one_batch_size, "cannot be traced by torch.export with a batch of any size"),
        (two_results, "returns 2 tensors"),
    ],
)
def test_models_that_cannot_be_taken_are_refused_in_one_line(make, says, capfd):
    torch.manual_seed(0)
    with pytest.raises(InputError, match=says) as refused:
        Graph.trace(make().eval(), torch.randn(2, 3, SIDE, SIDE))
    assert "\n" not in str(refused.value)
    assert capfd.readouterr() == ("", "")
