"""The log of a run: one CSV line and one TensorBoard point for the first step and every few, and a plot at the end."""

import csv
import time
from collections.abc import Sequence
from pathlib import Path

from depictqa_core.storage.appending import csv_line
from depictqa_core.storage.files import replacing

from ..output_files import append_text, write_text, writing

VALIDATION = ("step", "loss", "token_accuracy")
COLUMNS = ("step", "loss", "token_accuracy", "learning_rate", "gradient_norm", "records_per_second")


class MetricLogger:
    """Averages what happens between two lines of the log.

    Args:
        run: folder of ``loss.csv``, ``tensorboard/`` and ``loss.png``.
        every: steps between two lines.
        first: steps done before; later lines of an earlier try are dropped, so that the curve is one.
        window: sums of the steps since the last line, as ``window`` was when the state was saved.
    """

    def __init__(self, run: Path, every: int, first: int = 0, window: list[float] | None = None):
        self.path, self.every, self.first = run / "loss.csv", every, first
        self.window = window or [0.0] * 5
        """Sums since the last line: steps, loss, norm, right answer tokens, answer tokens."""
        self._records, self._started = 0, time.monotonic()
        kept = [row for row in read_log(self.path) if int(row["step"]) <= first]
        write_text(self.path, csv_line(COLUMNS) + "".join(csv_line(row[name] for name in COLUMNS) for row in kept))
        self.validation = run / "validation.csv"
        if self.validation.exists():
            measured = [row for row in read_log(self.validation, VALIDATION) if int(row["step"]) <= first]
            lines = [csv_line(row[name] for name in VALIDATION) for row in measured]
            write_text(self.validation, "".join([csv_line(VALIDATION), *lines]))
        self._board = _tensorboard(run / "tensorboard", first)

    def add(self, step: int, sums: tuple[float, float, float, float], rate: float, records: int) -> bool:
        """Add one step, counted from 1; True if a line was written for it.

        The first step has a line of its own as well, so that a wrong start is seen at once.

        Args:
            sums: loss, gradient norm, right answer tokens, answer tokens.
        """
        self.window = [a + b for a, b in zip(self.window, (1, *sums))]
        self._records += records
        if step % self.every and step != 1:
            return False
        steps, loss, norm, right, answer_tokens = self.window
        speed = self._records / max(1e-9, time.monotonic() - self._started)
        means = (loss / steps, right / max(1, answer_tokens), rate, norm / steps, speed)
        self.last = dict(zip(COLUMNS, (step, *means)))
        append_text(self.path, csv_line([step, *(float(f"{value:.6g}") for value in means)]))
        if self._board is not None:
            for name, value in zip(COLUMNS[1:], means):
                self._board.add_scalar(name, value, step)
        if step % self.every == 0:
            self.window, self._records, self._started = [0.0] * 5, 0, time.monotonic()
        return True

    def validated(self, step: int, values: dict[str, float]) -> None:
        """Store what was measured on the validation records after a step, counted from 1."""
        if not self.validation.exists():
            write_text(self.validation, csv_line(VALIDATION))
        append_text(self.validation, csv_line([step, *(float(f"{values[name]:.6g}") for name in VALIDATION[1:])]))
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"validation_{name}", value, step)

    def close(self) -> None:
        """Finish the TensorBoard file and draw ``loss.png``."""
        if self._board is not None:
            self._board.close()
        plot(self.path)


def read_log(path: Path, columns: Sequence[str] = COLUMNS) -> list[dict]:
    """The lines of a log, oldest first; none if there is no log yet."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row.get(columns[-1])]  # a line that was cut off has no last cell


def plot(log: Path) -> Path | None:
    """Plot loss and learning rate next to a log; None without matplotlib or with less than two lines."""
    rows = read_log(log)
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no loss plot: matplotlib is not installed (pip install matplotlib)")
        return None
    if len(rows) < 2:
        return None
    steps, loss, rate = ([float(row[name]) for row in rows] for name in ("step", "loss", "learning_rate"))
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axis = figure.subplots()
    axis.plot(steps, loss, color="tab:blue")
    measured = read_log(log.with_name("validation.csv"), VALIDATION)
    if measured:
        points = ([int(row["step"]) for row in measured], [float(row["loss"]) for row in measured])
        axis.plot(*points, "o-", color="tab:orange", markersize=3, label="validation")
        axis.legend(frameon=False)
    axis.set(xlabel="step", ylabel="loss", yscale="log")
    beside = axis.twinx()
    beside.plot(steps, rate, color="tab:gray", linewidth=0.8)
    beside.set_ylabel("learning rate", color="tab:gray")
    target = log.with_suffix(".png")
    with writing(target), replacing(target) as part:
        figure.savefig(part, dpi=120, format="png")
    return target


def _tensorboard(folder: Path, first: int):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print(
            "no TensorBoard log: tensorboard is not installed (pip install tensorboard); loss.csv has the same numbers"
        )
        return None
    return SummaryWriter(str(folder), purge_step=first + 1)
