"""Connectors against independent computations: linear, abstractor (a Transformer decoder), multi-stage pooling."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from depictqa_core.images.comparison_statistics import COMPARISON_STATISTICS
from depictqa_core.network.config import DepictQAConfig
from depictqa_core.network.connector import CONNECTORS, PairFeatures
from depictqa_core.network.vision import Features

WIDTH, HIDDEN = 16, 24


def make(kind, widths=(WIDTH,), statistics=0, **settings):
    torch.manual_seed(0)
    config = DepictQAConfig(connector={"kind": kind, **settings})
    return CONNECTORS[kind](config, list(widths), statistics, HIDDEN).eval()


def rows_first(feature_map):
    """Positions of a feature map [B, C, h, w] in reading order, [B, h * w, C], one after the other."""
    h, w = feature_map.shape[2:]
    return torch.stack([feature_map[:, :, i, j] for i in range(h) for j in range(w)], 1)


def test_linear_is_one_layer_on_the_last_map_in_reading_order():
    connector = make("linear", widths=(8, WIDTH))
    maps = [torch.randn(2, 8, 6, 10), torch.randn(2, WIDTH, 3, 5)]
    with torch.no_grad():
        pooled = connector.pool(Features(maps))
        tokens = connector(pooled)
    weights = connector.state_dict()
    assert set(weights) == {"projector.weight", "projector.bias"}
    expected = (
        torch.einsum("btc,hc->bth", rows_first(maps[-1]), weights["projector.weight"]) + weights["projector.bias"]
    )
    torch.testing.assert_close(tokens, expected)
    assert connector.token_count(pooled[0]) == 15 == tokens.shape[1]


def attention(weights, prefix, queries, keys, heads):
    """Multi-head attention from the weights of ``nn.MultiheadAttention``: [B, Q, C], [B, K, C] -> [B, Q, C]."""
    width = queries.shape[-1]
    size = width // heads
    w, b = weights[f"{prefix}.in_proj_weight"], weights[f"{prefix}.in_proj_bias"]
    q, k, v = (
        F.linear(x, w[i * width : (i + 1) * width], b[i * width : (i + 1) * width])
        for i, x in enumerate((queries, keys, keys))
    )
    mixed = []
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        scores = (q[..., part] @ k[..., part].transpose(1, 2)) / size**0.5
        mixed.append(scores.softmax(-1) @ v[..., part])
    return F.linear(torch.cat(mixed, -1), weights[f"{prefix}.out_proj.weight"], weights[f"{prefix}.out_proj.bias"])


def test_abstractor_is_a_post_norm_decoder_with_the_published_keys():
    """The published keys (after ``abstractor.abstractor.``) fit, and every layer is attention, cross-attention, FFN."""
    layers, heads, queries = 3, 4, 5
    connector = make("abstractor", layers=layers, heads=heads, feedforward=32, queries=queries)
    weights = {key: torch.randn_like(value) * 0.3 for key, value in connector.state_dict().items()}
    connector.load_state_dict(weights)
    shapes = {
        **{f"{a}_attn.in_proj_weight": (48, 16) for a in ("self", "multihead")},
        **{f"{a}_attn.in_proj_bias": (48,) for a in ("self", "multihead")},
        **{f"{a}_attn.out_proj.weight": (16, 16) for a in ("self", "multihead")},
        **{f"{a}_attn.out_proj.bias": (16,) for a in ("self", "multihead")},
        **{f"norm{i}.{p}": (16,) for i in (1, 2, 3) for p in ("weight", "bias")},
        **{"linear1.weight": (32, 16), "linear1.bias": (32,), "linear2.weight": (16, 32), "linear2.bias": (16,)},
    }
    stack = {
        k.removeprefix("abstractor.layers."): tuple(v.shape) for k, v in weights.items() if k.startswith("abstractor.")
    }
    assert stack == {f"{layer}.{key}": shape for layer in range(layers) for key, shape in shapes.items()}
    assert weights["queries"].shape == (queries, WIDTH)

    features = torch.randn(2, WIDTH, 3, 4)
    seen = rows_first(features)
    x = weights["queries"].expand(2, -1, -1)
    for layer in range(layers):
        own = {k.removeprefix(f"abstractor.layers.{layer}."): v for k, v in weights.items()}

        def norm(y, i, own=own):
            return F.layer_norm(y, (WIDTH,), own[f"norm{i}.weight"], own[f"norm{i}.bias"], 1e-5)

        x = norm(x + attention(own, "self_attn", x, x, heads), 1)
        x = norm(x + attention(own, "multihead_attn", x, seen, heads), 2)
        inner = F.linear(x, own["linear1.weight"], own["linear1.bias"]).relu()
        x = norm(x + F.linear(inner, own["linear2.weight"], own["linear2.bias"]), 3)
    expected = F.linear(x, weights["projector.weight"], weights["projector.bias"])
    with torch.no_grad():
        pooled = connector.pool(Features([features]))
        tokens = connector(pooled)
    torch.testing.assert_close(tokens, expected, rtol=1e-4, atol=1e-5)
    assert connector.token_count(pooled[0]) == queries == tokens.shape[1]


def test_abstractor_defaults_are_the_published_sizes():
    with torch.device("meta"):
        connector = CONNECTORS["abstractor"](DepictQAConfig(connector={"kind": "abstractor"}), [1024], 0, 4096)
    stock = nn.TransformerDecoderLayer(1024, 8, 2048, 0.1, device="meta")
    expected = {f"{i}.{k}": v.shape for i in range(4) for k, v in stock.state_dict().items()}
    assert {k: v.shape for k, v in connector.abstractor.layers.state_dict().items()} == expected
    assert connector.queries.shape == (64, 1024) and connector.projector.weight.shape == (4096, 1024)
    assert sum(p.numel() for p in connector.parameters()) == 71_442_432 - 32 * 4 * 2 * 16 * 4096
    assert connector.abstractor.layers[0].self_attn.num_heads == 8 and connector.abstractor.norm is None


def pooling(**settings):
    settings = {"grid": 2, "grid_stages": [0, 2], "hidden": 8, "summary_tokens": 3, **settings}
    return make("pooling", widths=(3, 5, 7), statistics=4, **settings)


def test_pooling_gathers_mean_deviation_statistics_and_a_grid():
    connector = pooling()
    maps = [torch.randn(2, 3, 8, 12), torch.randn(2, 5, 4, 6), torch.randn(2, 7, 2, 4)]
    statistics = torch.randn(2, 4)
    pooled = connector.pool(Features(maps, statistics))
    for row in range(2):
        expected = [float(m[row, c].mean()) for m in maps for c in range(m.shape[1])]
        expected += [float(m[row, c].std(correction=0)) for m in maps for c in range(m.shape[1])]
        expected += statistics[row].tolist()
        for i in range(2):
            for j in range(2):
                for m in (maps[0], maps[2]):
                    h, w = m.shape[2] // 2, m.shape[3] // 2
                    expected += m[row, :, i * h : (i + 1) * h, j * w : (j + 1) * w].mean((1, 2)).tolist()
        torch.testing.assert_close(pooled[row], torch.tensor(expected), rtol=1e-5, atol=1e-6)


def test_pooling_standardises_and_lets_no_outlier_through():
    connector = pooling()
    raw = torch.randn(6, connector.mean.numel()) * 30 + 100
    with torch.no_grad():
        plain = connector((raw - 100) / 30)
        connector.mean += 100
        connector.deviation *= 30
        torch.testing.assert_close(connector(raw), plain, rtol=1e-4, atol=1e-5)
        far, further = raw.clone(), raw.clone()
        far[:, 5], further[:, 5] = 100 + 8 * 30, 1e9
        torch.testing.assert_close(connector(far), connector(further))
        assert (connector(far) - connector(raw)).abs().max() > 1e-3
    assert plain.shape == (6, 3 + 4, HIDDEN) and connector.token_count(raw[0]) == 7
    assert {"mean", "deviation"} < set(connector.state_dict())


def test_pooling_shows_the_difference_from_a_reference_in_the_summary_only():
    connector = pooling()
    own, other = torch.randn(2, 2, connector.mean.numel(), generator=torch.Generator().manual_seed(3)).unbind(0)
    with torch.no_grad():
        alone, same, beside = connector(own), connector(own, own), connector(own, other)
        changed = (beside - same).abs().amax((0, 2))
        # Only the summary part of the reference counts, and it counts through the difference.
        elsewhere = other.clone()
        elsewhere[:, connector.global_width :] += 1
        torch.testing.assert_close(connector(own, elsewhere), beside)
        shifted = connector(own + 0.0, own + (other - own))
        torch.testing.assert_close(shifted, beside, rtol=1e-4, atol=1e-5)
    assert (changed[:3] > 1e-4).all() and (changed[3:] < 1e-6).all()
    torch.testing.assert_close(alone[:, 3:], beside[:, 3:])


def test_a_comparison_is_silent_at_first_and_then_speaks_in_the_summary_only():
    connector, generator = pooling(comparison=True), torch.Generator().manual_seed(3)
    own, other = torch.randn(2, 2, connector.mean.numel(), generator=generator).unbind(0)
    near, far = torch.randn(2, 2, COMPARISON_STATISTICS, generator=generator).unbind(0)
    with torch.no_grad():
        before = connector(own, other)
        assert torch.equal(connector(own, other, near), before)
        nn.init.normal_(connector.compared[-1].weight)
        changed = (connector(own, other, near) - connector(own, other, far)).abs().amax((0, 2))
        connector.comparison_mean.copy_(far.mean(0))
        connector.comparison_deviation.fill_(2)
        standard = connector.standardise_comparison(near)
    assert (changed[:3] > 1e-3).all() and (changed[3:] == 0).all()
    torch.testing.assert_close(standard, (near - far.mean(0)) / 2)
    assert pooling().compared is None and not any("compar" in name for name in pooling().state_dict())


def test_a_pair_is_silent_at_first_and_then_speaks_in_the_summary_only():
    connector, generator = pooling(pair=True), torch.Generator().manual_seed(3)
    own, other, third = torch.randn(3, 2, connector.mean.numel(), generator=generator).unbind(0)
    with torch.no_grad():
        assert torch.equal(connector(own, other=other), connector(own))
        nn.init.normal_(connector.pair_tokens.weight)
        changed = (connector(own, other=other) - connector(own, other=third)).abs().amax((0, 2))
        one, their = connector.pair_features(own), connector.pair_features(other)
        there, back = connector.advantage(one, their), connector.advantage(their, one)
        equal = connector(own, other=own)
    assert (changed[:3] > 1e-3).all() and (changed[3:] == 0).all()
    width = connector.global_width
    gap = (own - other)[:, :width]  # mean 0 and deviation 1: they are standardized already
    torch.testing.assert_close(one.differences(their)[:, -width:], gap.sign() * gap.abs().sqrt())
    torch.testing.assert_close(back, -there)
    torch.testing.assert_close(equal, connector(own))  # equal images: no evidence
    assert there.abs().min() > 0
    assert not pooling().pairs and not any("pair" in name for name in pooling().state_dict())


def test_heads_change_no_token():
    connector, generator = pooling(findings=True), torch.Generator().manual_seed(3)
    own = torch.randn(2, connector.mean.numel(), generator=generator)
    without = pooling()
    without.load_state_dict({n: v for n, v in connector.state_dict().items() if not n.startswith("heads.")})
    with torch.no_grad():
        assert torch.equal(without(own), connector(own))
        assert connector.findings(own).labels.isfinite().all()
    assert pooling().heads is None and not any("heads" in name for name in pooling().state_dict())
    with pytest.raises(ValueError, match="no heads"):
        pooling().findings(own)


def test_a_pair_sees_where_the_difference_is_largest():
    grids = torch.zeros(2, 1, 2, 9)  # two images, two channels, nine places
    grids[0, 0, 0, 4], grids[0, 0, 1, 7] = 4.0, -9.0
    own, other = (PairFeatures([torch.zeros(1, 1)], [torch.zeros(1, 1)], [grid]) for grid in grids)
    assert own.differences(other).tolist() == [[0, 0, 2, 0, 0, -3]]
    assert other.differences(own).tolist() == [[0, 0, 0, 3, -2, 0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_equal_images_have_a_gradient(dtype):
    values = torch.tensor([[1.0, 2.0]], dtype=dtype, requires_grad=True)
    own, other = (PairFeatures([values], [values * factor], []) for factor in (1.0, torch.tensor([1.0, 3.0])))
    own.differences(other).sum().backward()
    assert values.grad.isfinite().all()


def test_pooling_tells_its_cells_apart():
    connector = pooling()
    raw = torch.zeros(2, connector.mean.numel())
    raw[0, connector.global_width] = 1.0  # first cell
    raw[1, connector.global_width + connector.cell] = 1.0  # second cell
    with torch.no_grad():
        changed = (connector(raw) - connector(torch.zeros_like(raw))).abs().amax(-1)  # [2, tokens]
    assert [(row > 1e-6).nonzero().flatten().tolist() for row in changed] == [[3], [4]]


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_pooling_in_half_precision_stays_finite_and_close(half):
    connector = pooling()
    raw = torch.randn(4, connector.mean.numel())
    with torch.no_grad():
        connector.deviation[0] = 1e-9  # float16 has no such number
        raw[0, 0] = 0.0
        full = connector(raw)
        tokens = connector.to(half)(raw)
    assert tokens.dtype == half and torch.isfinite(tokens).all()
    torch.testing.assert_close(tokens[0].float(), full[0], rtol=0, atol=0.15)


def test_maps_smaller_than_the_grid_are_pooled_too():
    connector = pooling()
    pooled = connector.pool(
        Features([torch.ones(1, 3, 1, 1), torch.ones(1, 5, 1, 2), torch.ones(1, 7, 1, 1)], torch.ones(1, 4))
    )
    assert torch.isfinite(connector(pooled)).all()
