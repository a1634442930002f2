"""Histogram: a distribution in memory that does not grow, to merge, store and ask later.

::

    from ftnet.histogram import Histogram

    h = Histogram()  # 1 ns to 1 h, three significant digits
    h.record(profile_ns)
    h.percentiles([50, 99, 99.9])
    numpy.asarray(h.counts)  # without a copy
    Histogram.decode(h.encode())  # as other HdrHistograms read and write it

It knows nothing of requests and of time: values are whole numbers, in the unit that they came in.
"""

from __future__ import annotations

from ftcore.histogram import Histogram

__all__ = ["Histogram"]
