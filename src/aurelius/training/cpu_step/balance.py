"""Sharing work evenly among threads."""

import heapq
from collections.abc import Sequence


def shares(costs: Sequence[float], count: int) -> list[list[int]]:
    """Split the indices of ``costs`` into ``count`` shares, in order, whose total costs are nearly equal.

    The largest differencing method: the two most uneven partial solutions are joined, largest with smallest,
    until one is left. Source: Karmarkar and Karp 1982, "The differencing method of set partitioning".
    """
    empty: list[tuple[float, list[int]]] = [(0.0, [])] * (count - 1)
    # Each entry: (minus its unevenness, a tie-breaker, its shares with their costs, in ascending order).
    heap = [(-cost, n, [*empty, (cost, [n])]) for n, cost in enumerate(costs)]
    heapq.heapify(heap)
    while len(heap) > 1:
        _, n, first = heapq.heappop(heap)
        _, _, second = heapq.heappop(heap)
        joined = sorted((a + b, x + y) for (a, x), (b, y) in zip(first, reversed(second), strict=True))
        heapq.heappush(heap, (joined[0][0] - joined[-1][0], n, joined))
    return [sorted(indices) for _, indices in heap[0][2]] if heap else [[] for _ in range(count)]
