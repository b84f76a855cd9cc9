"""Vision towers against independent computations, and pixel statistics on ordinary and extreme images."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny import CNN, make_tiny_model
from transformers import CLIPVisionConfig, CLIPVisionModel

from depictqa_core.images.image import as_image
from depictqa_core.images.pixel_statistics import STATISTICS, TILE, WHOLE_PIXELS, pixel_statistics
from depictqa_core.network.config import DepictQAConfig
from depictqa_core.network.efficientnet import blocks, feature_maps
from depictqa_core.network.vision import LITE0_STAGES, ClipTower, CnnTower, Prepared, prepare, statistics_width

GRID, PATCH, WIDTH = 4, 14, 32


@pytest.fixture(scope="module")
def clip():
    """A stock CLIP tower, and ours with the same weights by the names of a checkpoint."""
    torch.manual_seed(0)
    size = {"hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    stock = CLIPVisionModel(
        CLIPVisionConfig(hidden_act="quick_gelu", image_size=GRID * PATCH, patch_size=PATCH, **size)
    )
    with torch.no_grad():  # stock initialisation is so small that a mistake would hide in it
        for parameter in stock.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    ours = ClipTower(DepictQAConfig(vision={"kind": "clip", "image_size": GRID * PATCH, **size}))
    weights = {}
    for key, value in stock.state_dict().items():
        key = key.removeprefix("vision_model.").removeprefix("embeddings.").replace("pre_layrnorm", "pre_layernorm")
        if not key.startswith("post_layernorm") and key != "position_ids":
            weights["position_embedding" if key == "position_embedding.weight" else key] = value
    ours.load_state_dict(weights)
    return stock.eval(), ours.eval()


def cubic(x: float) -> float:
    """The kernel of bicubic interpolation with a = -0.75."""
    x, a = abs(x), -0.75
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def resize_aligned(grid: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bicubic resize of [h, w, C] with aligned corners and repeated edges, one output cell after the other."""

    def weights(size, target):
        matrix = np.zeros((target, size))
        for i in range(target):
            place = i * (size - 1) / (target - 1) if target > 1 else 0.0
            for tap in range(int(np.floor(place)) - 1, int(np.floor(place)) + 3):
                matrix[i, min(max(tap, 0), size - 1)] += cubic(place - tap)
        return matrix

    return np.einsum("yi,xj,ijc->yxc", weights(grid.shape[0], height), weights(grid.shape[1], width), grid)


def test_clip_at_the_trained_grid_equals_the_stock_model(clip):
    stock, ours = clip
    pixels = torch.randn(2, 3, GRID * PATCH, GRID * PATCH)
    with torch.no_grad():
        expected = stock(pixels).last_hidden_state[:, 1:]  # [B, 16, C]: no class token, no final norm
        (got,) = ours(pixels).maps
    assert got.shape == (2, WIDTH, GRID, GRID)
    torch.testing.assert_close(got.flatten(2).transpose(1, 2), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("height, width", [(2, 7), (5, 4), (1, 3), (9, 9)])
def test_clip_at_another_grid_resizes_positions_with_aligned_corners(clip, height, width):
    stock, ours = clip
    inner = getattr(stock, "vision_model", stock)
    pixels = torch.randn(1, 3, height * PATCH, width * PATCH)
    positions = inner.embeddings.position_embedding.weight.detach().double().numpy()
    grid = resize_aligned(positions[1:].reshape(GRID, GRID, WIDTH), height, width)
    positions = torch.tensor(np.concatenate([positions[:1], grid.reshape(-1, WIDTH)]), dtype=torch.float32)
    with torch.no_grad():
        patches = F.conv2d(pixels, inner.embeddings.patch_embedding.weight, stride=PATCH).flatten(2).transpose(1, 2)
        hidden = torch.cat([inner.embeddings.class_embedding.view(1, 1, -1), patches], 1) + positions
        for layer in (inner.pre_layrnorm, *inner.encoder.layers):
            hidden = (
                layer(hidden)
                if layer is inner.pre_layrnorm
                else _first(layer(hidden, attention_mask=None, **_extra(layer)))
            )
        (got,) = ours(pixels).maps
    torch.testing.assert_close(got.flatten(2).transpose(1, 2), hidden[:, 1:], rtol=0, atol=2e-5)


def _extra(layer) -> dict:
    """transformers 4 wants the causal mask of CLIP's text tower spelled out."""
    import inspect

    return (
        {"causal_attention_mask": None}
        if "causal_attention_mask" in inspect.signature(layer.forward).parameters
        else {}
    )


def _first(output):
    return output[0] if isinstance(output, tuple) else output


def same_padded(x, weight, bias, stride, groups):
    """TensorFlow's "same" convolution, pixel by pixel: ceil(n / stride) outputs, the odd row of padding last."""
    kernel = weight.shape[-1]
    height, width = (-(-n // stride) for n in x.shape[2:])
    need = [max((out - 1) * stride + kernel - n, 0) for out, n in zip((height, width), x.shape[2:])]
    padded = torch.zeros(*x.shape[:2], x.shape[2] + need[0], x.shape[3] + need[1], dtype=x.dtype)
    padded[:, :, need[0] // 2 : need[0] // 2 + x.shape[2], need[1] // 2 : need[1] // 2 + x.shape[3]] = x
    out = torch.zeros(len(x), len(weight), height, width, dtype=x.dtype)
    per_group, outputs = x.shape[1] // groups, len(weight) // groups
    for g in range(groups):
        inputs = padded[:, g * per_group : (g + 1) * per_group]
        for i in range(height):
            for j in range(width):
                window = inputs[:, :, i * stride : i * stride + kernel, j * stride : j * stride + kernel]
                result = torch.einsum("bchw,ochw->bo", window, weight[g * outputs : (g + 1) * outputs])
                out[:, g * outputs : (g + 1) * outputs, i, j] = result
    return out + bias[:, None, None]


@pytest.mark.parametrize("height, width", [(16, 16), (15, 18), (13, 7)])
def test_cnn_tower_equals_a_straightforward_computation(height, width):
    torch.manual_seed(1)
    stages = [[1, 3, 1, 1, 4], [2, 5, 2, 3, 6]]
    tower = CnnTower(DepictQAConfig(vision={"kind": "cnn", "stem": 4, "stages": stages})).double()
    pixels = torch.randn(2, 3, height, width, dtype=torch.float64)
    weights = {key: value.detach() for key, value in tower.state_dict().items()}

    def conv(x, name, stride=1, groups=1):
        return same_padded(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride, groups)

    def relu6(x):
        return x.clamp(0, 6)

    x = relu6(conv(pixels, "stem", 2))
    first = conv(relu6(conv(x, "stages.0.0.depthwise", 1, 4)), "stages.0.0.project") + x
    x = relu6(conv(first, "stages.1.0.expand"))
    x = conv(relu6(conv(x, "stages.1.0.depthwise", 2, 12)), "stages.1.0.project")
    y = relu6(conv(x, "stages.1.1.expand"))
    second = conv(relu6(conv(y, "stages.1.1.depthwise", 1, 18)), "stages.1.1.project") + x
    with torch.no_grad():
        maps = tower(pixels, torch.zeros(2, STATISTICS)).maps
    assert len(maps) == 2
    torch.testing.assert_close(maps[0], first)
    torch.testing.assert_close(maps[1], second)


@pytest.mark.parametrize("size", [(32, 32), (37, 50)])
def test_convolutions_that_work_in_place_give_maps_and_gradients_of_the_plain_formulas(size):
    """TensorFlow's padding, ReLU6 and the residual, written out with new tensors all the way."""

    def same(x, conv):
        k, s = conv.kernel_size[0], conv.stride[0]
        rows, columns = (max((-(-n // s) - 1) * s + k - n, 0) for n in x.shape[2:])
        x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return F.conv2d(x, conv.weight, conv.bias, conv.stride, groups=conv.groups)

    def plain(pixels):
        x, maps = same(pixels, stem).clamp(0, 6), []
        for stage in stages:
            for block in stage:
                hidden = same(x, block.expand).clamp(0, 6) if block.expand is not None else x
                hidden = same(same(hidden, block.depthwise).clamp(0, 6), block.project)
                x = x + hidden if block.residual else hidden
            maps.append(x)
        return maps

    torch.manual_seed(5)
    stem, stages, _ = blocks([(2, 3, 1, 2, 6), (2, 5, 2, 3, 8)], stem=4)
    pixels = torch.randn(2, 3, *size)
    before, gradients = pixels.clone(), []
    for made in (feature_maps(stem, stages, pixels), plain(pixels)):
        parameters = [*stem.parameters(), *stages.parameters()]
        gradients.append((made, torch.autograd.grad(sum(m.square().mean() for m in made), parameters)))
    assert torch.equal(pixels, before)
    torch.testing.assert_close(gradients[0], gradients[1])


def test_efficientnet_lite0_has_its_published_size():
    tower = CnnTower(DepictQAConfig(vision={"kind": "cnn"}))
    assert tower.widths == [stage[-1] for stage in LITE0_STAGES] == [16, 24, 40, 80, 112, 192, 320]
    with torch.no_grad():
        maps = tower(torch.randn(1, 3, 64, 96), torch.zeros(1, STATISTICS)).maps
    assert [m.shape[2:] for m in maps] == [(32, 48), (16, 24), (8, 12), (4, 6), (4, 6), (2, 3), (2, 3)]
    # 4,652,008 parameters with head and batch norms; 42 norms of two vectors are folded into one bias each
    head = 320 * 1280 + 2 * 1280 + 1280 * 1000 + 1000
    norms = sum(module.out_channels for module in tower.modules() if isinstance(module, torch.nn.Conv2d))
    assert sum(p.numel() for p in tower.parameters()) == 4_652_008 - head - norms


@pytest.mark.parametrize("kind", ["cnn", "clip", "backbone"])
def test_order_and_company_of_pictures_do_not_matter(kind):
    model, _ = make_tiny_model(kind)
    rng = np.random.default_rng(0)
    pictures = [
        as_image(rng.integers(0, 256, (h, w, 3), np.uint8)) for h, w in ((40, 60), (60, 40), (40, 60), (200, 90))
    ]
    prepared = [prepare(picture, model.config) for picture in pictures]
    with torch.no_grad():
        together = model.encode(prepared)
        backwards = model.encode(prepared[::-1])[::-1]
        alone = [model.encode([one])[0] for one in prepared]
    for a, b, c in zip(together, backwards, alone):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(a, c, rtol=1e-4, atol=1e-4)
    assert (together[0] - together[2]).abs().max() > 1e-2  # not one answer for all


def test_prepare_resizes_for_the_tower_but_not_for_the_statistics():
    config = DepictQAConfig(**CNN)
    rgb = np.random.default_rng(0).integers(0, 256, (100, 300, 3), np.uint8)
    prepared = prepare(as_image(rgb), config)
    assert prepared.pixels.shape == (3, 43, 128) and prepared.pixels.dtype == torch.float32
    assert torch.equal(prepared.statistics, pixel_statistics(rgb))
    assert statistics_width(config) == STATISTICS
    clip_config = DepictQAConfig(vision={"kind": "clip"})
    assert prepare(as_image(rgb), clip_config).statistics is None and statistics_width(clip_config) == 0


SIDE = int(WHOLE_PIXELS**0.5)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def flat(height, width, colour):
    return np.full((height, width, 3), colour, np.uint8)


EXTREMES = {
    "black": flat(64, 64, 0),
    "white": flat(64, 64, 255),
    "grey": flat(50, 70, 128),
    "red": flat(64, 64, (255, 0, 0)),
    "one pixel": flat(1, 1, 7),
    "one black pixel": flat(1, 1, 0),
    "one row": noise(1, 500),
    "one column": noise(500, 1),
    "tiny": noise(5, 9),
    "odd": noise(33, 47),
    "smallest unpadded": noise(32, 32),
    "checkerboard": np.indices((64, 64)).sum(0)[..., None].repeat(3, 2).astype(np.uint8) % 2 * 255,
    "black above white": np.concatenate([flat(40, 64, 0), flat(40, 64, 255)]),
    "large and flat": flat(700, 500, 90),
    "large strip": noise(8, 30000),
    "just whole": noise(SIDE, SIDE),
    "just tiled": noise(SIDE, SIDE + 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", EXTREMES)
def test_statistics_are_finite_and_of_order_one(name):
    values = pixel_statistics(EXTREMES[name])
    assert values.shape == (STATISTICS,) and values.dtype == torch.float32
    assert torch.isfinite(values).all()
    assert values.abs().max() < 50


def test_statistics_are_deterministic_and_do_not_touch_the_picture():
    rgb = noise(100, 90)
    before = rgb.copy()
    first = pixel_statistics(rgb)
    assert torch.equal(first, pixel_statistics(rgb.copy())) and np.array_equal(rgb, before)
    rgb.flags.writeable = False
    assert torch.equal(first, pixel_statistics(rgb))
    assert (first - pixel_statistics(noise(100, 90, seed=1))).abs().max() > 1e-3


def test_small_pictures_are_padded_by_their_edge():
    small = noise(20, 27)
    assert torch.equal(pixel_statistics(small), pixel_statistics(np.pad(small, ((0, 12), (0, 5), (0, 0)), "edge")))


@pytest.mark.slow
def test_large_pictures_are_read_through_nine_tiles():
    height, width = 1000, 1300
    rgb = noise(height, width)
    tops, lefts = ([0, (side - TILE) // 2 // 8 * 8, (side - TILE) // 8 * 8] for side in (height, width))
    outside = rgb.copy()
    seen = np.zeros((height, width), bool)
    for top in tops:
        for left in lefts:
            seen[top : top + TILE, left : left + TILE] = True
    outside[~seen] = 0
    assert torch.equal(pixel_statistics(rgb), pixel_statistics(outside))
    for top in tops:
        for left in lefts:
            changed = rgb.copy()
            changed[top : top + TILE, left : left + TILE] = 0
            assert (pixel_statistics(changed) - pixel_statistics(rgb)).abs().max() > 1e-2


def test_pictures_up_to_the_bound_are_read_whole():
    rgb = noise(SIDE, SIDE)
    for place in ((0, 0), (SIDE // 3, SIDE // 2), (SIDE - 1, SIDE - 1)):
        changed = rgb.copy()
        changed[place] = 255 - changed[place]
        assert not torch.equal(pixel_statistics(changed), pixel_statistics(rgb))


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_towers_leave_the_statistics_alone(half):
    model, _ = make_tiny_model("cnn")
    prepared = prepare(as_image(noise(64, 64)), model.config)
    features = model.vision.to(half)(prepared.pixels[None], prepared.statistics[None])
    assert torch.equal(features.statistics, prepared.statistics[None])
    assert features.maps[0].dtype == half


def test_pictures_of_one_batch_share_no_statistics():
    model, _ = make_tiny_model("cnn")
    pixels = torch.zeros(3, 64, 64)
    with torch.no_grad():
        a, b = model.encode([Prepared(pixels, torch.zeros(STATISTICS)), Prepared(pixels, torch.ones(STATISTICS))])
    offset = 2 * sum(model.vision.widths)
    assert torch.equal(a[:offset], b[:offset])
    assert torch.equal(a[offset : offset + STATISTICS], torch.zeros(STATISTICS))
    assert torch.equal(b[offset : offset + STATISTICS], torch.ones(STATISTICS))
