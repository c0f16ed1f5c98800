"""The demo: compile a detector for this machine, find shapes on a picture it has never seen.

    python demo/run.py

Builds `demo/shapes.onnx` into a plan, loads the plan back, detects, draws, and measures. Leaves
`shapes.plan` and `detections.png` in demo-output/. `--seed` draws another picture.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from shapes import CLASSES, HELD_OUT, Picture
from shapes import draw as draw_picture

import planck
from planck import vision

MODEL = Path(__file__).with_name("shapes.onnx")
HEIGHT, WIDTH = 720, 960  # not the network's size: the picture is letterboxed as a photo would be
RUNS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, help="threads of an inference; all cores by default")
    parser.add_argument("--level", type=int, default=3, help="0 measures nothing, 5 everything")
    parser.add_argument("--seed", type=int, default=552, help="which held-out picture to draw")
    parser.add_argument("--out", type=Path, default=Path("demo-output"))
    options = parser.parse_args()
    console = Console()
    options.out.mkdir(parents=True, exist_ok=True)

    engine = build(console, options.out / "shapes.plan", options.threads, options.level)
    detector = vision.Detector(engine, CLASSES)
    picture = draw_picture(HELD_OUT + options.seed, HEIGHT, WIDTH)
    found = detector.detect(picture.pixels)
    vision.write_image(options.out / "detections.png", vision.draw(picture.pixels, found))

    console.print(detections_table(found, picture))
    console.print(times_table(engine, detector, picture.pixels))
    console.print(f"\nSee [bold]{options.out / 'detections.png'}[/bold]")


def build(console: Console, path: Path, threads: int | None, level: int) -> planck.Engine:
    """Compile the model, save the plan, and load it as a program that only runs it would."""
    facts = json.loads(MODEL.with_suffix(".json").read_text())
    score, pictures = facts["mAP50"], facts["held_out_pictures"]
    console.print(f"{MODEL.name}  mAP50 {score:.3f} on {pictures} held-out pictures")
    began = time.perf_counter()
    built = planck.build(MODEL, threads=threads, optimization_level=level, progress=True)
    built.save(path)
    console.print(
        f"             built in {time.perf_counter() - began:.1f} s for {built.plan.target}"
    )
    began = time.perf_counter()
    engine = planck.load(path)
    loaded_ms = 1e3 * (time.perf_counter() - began)
    console.print(f"{path.name}  {path.stat().st_size / 1e6:.1f} MB, loads in {loaded_ms:.1f} ms")
    return engine


def detections_table(found: list[vision.Detection], picture: Picture) -> Table:
    """Each detection, and how much of it lies on a shape of its class that was really drawn."""
    right = 0
    table = Table("shape", "score", "x1 y1 x2 y2", "IoU with the truth")
    for detection in found:
        truth = picture.boxes[picture.classes == detection.class_id]
        overlap = vision.iou(np.array([detection.box_px]), truth).max(initial=0.0)
        right += overlap >= 0.5
        box = " ".join(f"{edge:4.0f}" for edge in detection.box_px)
        table.add_row(detection.label, f"{detection.score:.2f}", box, f"{overlap:.2f}")
    table.title = f"{right} of {len(found)} detections right; {len(picture.classes)} shapes drawn"
    return table


def times_table(engine: planck.Engine, detector: vision.Detector, pixels: np.ndarray) -> Table:
    """Median times of one picture, ONNX Runtime's beside Planck's where it is installed."""
    x, _ = detector.prepare(pixels)
    name, threads = engine.inputs[0].name, engine.plan.threads
    runs = {"Planck": lambda: engine({name: x})}
    session = onnxruntime_session(threads)
    if session is not None:
        runs["ONNX Runtime"] = lambda: session.run(None, {name: x})
    times = medians_ms(runs)
    table = Table("one picture", "ms", "a second", title=f"{threads} threads, median of {RUNS}")
    for runner, ms in times.items():
        table.add_row(f"{runner}, network", f"{ms:.2f}", f"{1e3 / ms:.0f}")
    whole = medians_ms({"": lambda: detector.detect(pixels)})[""]
    table.add_row("Planck, letterbox to boxes", f"{whole:.2f}", f"{1e3 / whole:.0f}")
    if session is not None:
        table.caption = f"Planck is {times['ONNX Runtime'] / times['Planck']:.2f} times as fast"
    return table


def onnxruntime_session(threads: int):
    """A session with as many threads, or None where ONNX Runtime is not installed."""
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])


def medians_ms(runs: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median time of each; they take turns, so that a busy machine slows all of them alike."""
    times: dict[str, list[float]] = {runner: [] for runner in runs}
    for _ in range(RUNS):
        for runner, run in runs.items():
            began = time.perf_counter()
            run()
            times[runner].append(1e3 * (time.perf_counter() - began))
    return {runner: statistics.median(spent[RUNS // 10 :]) for runner, spent in times.items()}


if __name__ == "__main__":
    main()
