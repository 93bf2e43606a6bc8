"""Places for the labels of points, such that no label covers another label or a point."""

from collections.abc import Sequence

import numpy as np

STEP = 3.0  # between the places that are tried
AT_ONCE = 200  # places
GAP = 2.0  # between a label and what it must not cover
FAR = 8.0  # from here on a line leads from the point to its label
# Costs of a place, beside its distance from the point:
ABOVE, LEFT = 0.1, 2.0  # for each unit above or below the point, and for being left of it
CROSSED = 25.0  # if it covers a line, or its own line crosses a label


def placed(
    points: np.ndarray,
    sizes: Sequence[tuple[float, float]],
    dots: np.ndarray,
    radius: float,
    lines: np.ndarray,
    frame: Sequence[float],
) -> list[np.ndarray | None]:
    """The cheapest free place for the label of each point, one after the other.

    Args:
        points: position (N, 2) of each label's point.
        sizes: (width, height) of each label.
        dots: positions (M, 2) that no label may cover.
        radius: of the dots.
        lines: positions (K, 2) along lines, which labels cover only if other places are far.
        frame: left, bottom, right and top of where labels may be.

    Returns:
        Left, bottom, right and top of each label; None if there is no room for it.
    """
    found: list[np.ndarray | None] = []
    labels = np.empty((0, 4))
    for point, size in zip(points, np.asarray(sizes), strict=True):
        boxes, costs = candidates(point, size, radius + GAP, frame)
        best, least = None, np.inf
        for start in range(0, len(boxes), AT_ONCE):
            if costs[start] >= least:
                break
            some = slice(start, start + AT_ONCE)
            free = (np.linalg.norm(outside(dots, boxes[some]), axis=-1) >= radius + GAP).all(1)
            free &= (apart(labels, boxes[some]) >= GAP).all(1)
            if free.any():
                left, total = boxes[some][free], costs[some][free]
                total += CROSSED * (outside(lines, left) == 0).all(-1).any(1)
                total += CROSSED * crosses(point, left, labels)
                if total.min() < least:
                    best, least = left[total.argmin()], total.min()
        found.append(best)
        if best is not None:
            labels = np.vstack([labels, best])
            if line_to(point, best) is not None:
                lines = np.vstack([lines, along(point, best[None])[0]])
    return found


def candidates(
    point: np.ndarray, size: np.ndarray, gap: float, frame: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4) at all places of a frame, with their costs (N), cheapest first.

    One of them lies to the right of the point, at its height, if the frame has room there.
    """
    beside = point + np.array([gap, -size[1] / 2])
    left, bottom = (
        np.arange(low + (start - low) % STEP, high - length, STEP)
        for low, high, start, length in zip(frame[:2], frame[2:], beside, size, strict=True)
    )
    corners = np.stack(np.meshgrid(left, bottom), -1).reshape(-1, 2)
    boxes = np.hstack([corners, corners + size])
    costs = np.linalg.norm(outside(point[None], boxes)[:, 0], axis=-1)
    costs += ABOVE * np.abs(boxes[:, 1::2].mean(1) - point[1]) + LEFT * (boxes[:, 0] < point[0])
    order = costs.argsort(kind="stable")
    return boxes[order], costs[order]


def line_to(point: np.ndarray, box: np.ndarray) -> np.ndarray | None:
    """Where the line from a point to its label ends; None if the label is so near that it needs no line."""
    end = np.clip(point, box[:2], box[2:])
    return end if np.hypot(*(end - point)) > FAR else None


def along(point: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Positions (N, 12, 2) along the lines from a point to boxes."""
    ends = np.clip(point, boxes[:, :2], boxes[:, 2:])
    return point + np.linspace(0.15, 1, 12)[:, None] * (ends - point)[:, None]


def crosses(point: np.ndarray, boxes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether (N) the line from a point to each box crosses a label."""
    places = along(point, boxes)
    inside = (outside(places.reshape(-1, 2), labels) == 0).all(-1).any(0)
    return inside.reshape(places.shape[:2]).any(1)


def apart(labels: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """How far (N, labels) boxes are from labels, in x or in y; negative if they overlap."""
    gaps = np.maximum(boxes[:, None, :2] - labels[:, 2:], labels[:, :2] - boxes[:, None, 2:])
    return gaps.max(-1)


def outside(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """How far (boxes, points, 2) each point is outside of each box, in x and in y; 0 within."""
    return np.maximum(boxes[:, None, :2] - points, points - boxes[:, None, 2:]).clip(0)
