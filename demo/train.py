"""Train the demo's detector from a seed, score it on held-out pictures, export it to ONNX.

    python demo/train.py --out demo

Needs PyTorch, onnx, onnxscript and onnxruntime beside the demo's own packages (onnxruntime scores
the file as it was exported). Pictures are drawn by one process a core before training starts. With
scikit-learn installed, its two sample photographs serve as some of the backgrounds of training;
held-out pictures never have any.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import onnxscript.optimizer
import torch
from loss import loss
from network import STRIDES, Decoded, Detector, cell_centres, flatten
from score import average_precision, suppress
from shapes import CLASSES, HELD_OUT, MAX_SHAPES, Picture, draw
from torch import Tensor

SIDE = 320
PAD = 114  # grey of letterboxed borders
PEAK_RATE, WEIGHT_DECAY, WARM_UP_STEPS, EMA_STEPS = 3e-3, 0.02, 300, 800


def sample_photos() -> tuple[np.ndarray, ...]:
    """scikit-learn's two sample photographs (CC BY), or none where it is not installed."""
    try:
        from sklearn.datasets import load_sample_images
    except ImportError:
        return ()
    return tuple(load_sample_images().images)


def padded(picture: Picture, top: int, left: int) -> Picture:
    """The picture at a place of a grey square, as letterboxing would put it there."""
    height, width = picture.pixels.shape[:2]
    pixels = np.full((SIDE, SIDE, 3), PAD, np.uint8)
    pixels[top : top + height, left : left + width] = picture.pixels
    boxes = picture.boxes + np.array((left, top, left, top), np.float32)
    return Picture(pixels, boxes, picture.classes)


def training_picture(photos: Sequence[np.ndarray], seed: int) -> Picture:
    """A square picture, or every fourth time a wide or tall one on grey."""
    if seed % 4:
        return draw(seed, SIDE, SIDE, photos)
    rng = np.random.default_rng((seed, 1))
    short = int(rng.integers(SIDE // 2, SIDE))
    height, width = (short, SIDE) if rng.random() < 0.7 else (SIDE, short)
    picture = draw(seed, height, width, photos)
    return padded(picture, (SIDE - height) // 2, (SIDE - width) // 2)


def stack(pictures: Sequence[Picture]) -> tuple[Tensor, Tensor, Tensor]:
    """u8[P, 3, S, S], boxes f32[P, M, 4], classes i64[P, M] with -1 where there is no shape."""
    pixels = torch.empty((len(pictures), 3, SIDE, SIDE), dtype=torch.uint8)
    boxes = torch.zeros((len(pictures), MAX_SHAPES, 4))
    kinds = torch.full((len(pictures), MAX_SHAPES), -1)
    for i, picture in enumerate(pictures):
        pixels[i] = torch.from_numpy(picture.pixels.copy()).permute(2, 0, 1)
        count = len(picture.classes)
        boxes[i, :count] = torch.from_numpy(picture.boxes)
        kinds[i, :count] = torch.from_numpy(picture.classes)
    return pixels, boxes, kinds


def turned(pixels: Tensor, boxes: Tensor, way: int) -> tuple[Tensor, Tensor]:
    """One of the eight flips and quarter turns of square pictures and their boxes."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    if way & 1:
        pixels, x1, x2 = pixels.flip(-1), SIDE - x2, SIDE - x1
    if way & 2:
        pixels, y1, y2 = pixels.flip(-2), SIDE - y2, SIDE - y1
    if way & 4:
        pixels, x1, y1, x2, y2 = pixels.transpose(-1, -2), y1, x1, y2, x2
    return pixels, torch.stack((x1, y1, x2, y2), -1)


def recoloured(pixels: Tensor) -> Tensor:
    """Mix and scale the colours of each picture f32[B, 3, S, S] at random, keep it in 0..1."""
    batch = len(pixels)
    order = torch.randperm(3)
    gain = torch.empty((batch, 3, 1, 1), device=pixels.device).uniform_(0.75, 1.25)
    shift = torch.empty((batch, 1, 1, 1), device=pixels.device).uniform_(-0.1, 0.1)
    return (pixels[:, order] * gain + shift).clamp(0, 1)


def train(
    data: tuple[Tensor, Tensor, Tensor], steps: int, batch: int, device: torch.device
) -> Detector:
    """Train for a number of steps with AdamW; gives the running mean of the weights."""
    pixels, boxes, kinds = (part.to(device) for part in data)
    network = Detector(len(CLASSES)).to(device, memory_format=torch.channels_last)
    mean = copy.deepcopy(network).eval()
    decayed = [p for p in network.parameters() if p.ndim > 1]
    free = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": free}]
    optimiser = torch.optim.AdamW(groups, lr=PEAK_RATE, weight_decay=0.0)
    centres, strides = (part.to(device) for part in cell_centres(SIDE, SIDE))
    order = torch.empty(0, dtype=torch.long)
    began = time.perf_counter()
    for step in range(steps):
        cosine = 0.5 + 0.5 * math.cos(math.pi * step / steps)
        rate = PEAK_RATE * min(1.0, (step + 1) / WARM_UP_STEPS) * (0.01 + 0.99 * cosine)
        for group in optimiser.param_groups:
            group["lr"] = rate
        if len(order) < batch:
            order = torch.randperm(len(pixels))
        picked, order = order[:batch].to(device), order[batch:]
        x, truth = turned(pixels[picked], boxes[picked], int(torch.randint(8, ())))
        x = recoloured(x.float() / 255).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            raw = flatten(network(x))
        now = loss(raw, centres, strides, truth, kinds[picked])
        optimiser.zero_grad(set_to_none=True)
        now.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimiser.step()
        average(mean, network, min(1 - 1 / EMA_STEPS, (1 + step) / (10 + step)))
        if step % 200 == 0 or step == steps - 1:
            pace = (step + 1) / (time.perf_counter() - began)
            print(f"step {step:6d}  loss {now.item():7.3f}  {pace:5.1f} steps/s", flush=True)
    return mean


@torch.no_grad()
def average(mean: Detector, network: Detector, keep: float) -> None:
    """Move the running mean towards the network, batch-norm statistics included."""
    ours, theirs = mean.state_dict(), network.state_dict()
    floats = [name for name, value in ours.items() if value.is_floating_point()]
    torch._foreach_lerp_([ours[n] for n in floats], [theirs[n] for n in floats], 1 - keep)


def export(network: Detector, path: Path) -> None:
    """Write the network with its decode as ONNX: opset 17, batch norm and shapes folded, names."""
    network = copy.deepcopy(network).cpu().float().to(memory_format=torch.contiguous_format)
    decoded = Decoded(network, SIDE, SIDE).eval()
    example = torch.zeros(1, 3, SIDE, SIDE)
    names = {"input_names": ["images"], "output_names": ["output0"]}
    torch.onnx.export(decoded, (example,), str(path), opset_version=17, dynamo=False, **names)
    model = onnxscript.optimizer.optimize(onnx.load(path))  # the tracer leaves shape arithmetic
    model.graph.name = "shapes"
    facts = {
        "names": str(dict(enumerate(CLASSES))),
        "stride": str(max(STRIDES)),
        "imgsz": str([SIDE, SIDE]),
        "task": "detect",
    }
    onnx.helper.set_model_props(model, facts)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def evaluate(path: Path, pictures: Sequence[Picture]) -> dict[str, object]:
    """Score the exported file on pictures: mAP at IoU 0.5, and averaged over 0.5 to 0.95."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = []
    for picture in pictures:
        x = picture.pixels.transpose(2, 0, 1)[None].astype(np.float32) / 255
        rows = session.run(None, {"images": x})[0][0].T  # [N, 4 + classes]
        cell, kind = np.nonzero(rows[:, 4:] > 0.001)
        score = rows[cell, 4 + kind]
        best = np.argsort(-score, kind="stable")[:1000]
        cell, kind, score = cell[best], kind[best], score[best]
        centre, size = rows[cell, :2], rows[cell, 2:4]
        corners = np.concatenate((centre - size / 2, centre + size / 2), 1)
        keep = suppress(corners, score, kind, limit=0.6)[:100]
        found.append((corners[keep], score[keep], kind[keep]))
    table = np.empty((len(CLASSES), 10))
    for kind in range(len(CLASSES)):
        ours = [(boxes[k == kind], scores[k == kind]) for boxes, scores, k in found]
        truth = [picture.boxes[picture.classes == kind] for picture in pictures]
        table[kind] = [average_precision(ours, truth, t) for t in np.arange(0.5, 0.99, 0.05)]
    return {
        "held_out_pictures": len(pictures),
        "held_out_shapes": sum(len(picture.classes) for picture in pictures),
        "mAP50": round(float(table[:, 0].mean()), 4),
        "mAP50_95": round(float(table.mean()), 4),
        "AP50": {name: round(float(ap), 4) for name, ap in zip(CLASSES, table[:, 0], strict=True)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--pictures", type=int, default=48_000)
    parser.add_argument("--held-out", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()

    began = time.perf_counter()
    photos = sample_photos()
    with ProcessPoolExecutor() as pool:
        make = partial(training_picture, photos)
        data = stack(list(pool.map(make, range(options.pictures), chunksize=64)))
        held_out = range(HELD_OUT, HELD_OUT + options.held_out)
        make = partial(draw, height=SIDE, width=SIDE)
        tests = list(pool.map(make, held_out, chunksize=16))
    print(f"drew {options.pictures} + {options.held_out} in {time.perf_counter() - began:.0f} s")

    torch.manual_seed(options.seed)
    torch.backends.cudnn.benchmark = True
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    began = time.perf_counter()
    network = train(data, options.steps, options.batch, device)
    parameters = sum(p.numel() for p in network.parameters())
    print(f"trained {parameters} parameters in {time.perf_counter() - began:.0f} s on {device}")

    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "shapes.onnx"
    export(network, path)
    facts = {
        "seed": options.seed,
        "steps": options.steps,
        "batch": options.batch,
        "training_pictures": options.pictures,
        "photo_backgrounds": bool(photos),
        "parameters": parameters,
        "input": [1, 3, SIDE, SIDE],
        "classes": CLASSES,
        "bytes": path.stat().st_size,
        **evaluate(path, tests),
    }
    (options.out / "shapes.json").write_text(json.dumps(facts, indent=2) + "\n")
    print(json.dumps(facts, indent=2))


if __name__ == "__main__":
    main()
