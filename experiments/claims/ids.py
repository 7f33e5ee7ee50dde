"""The hundred claims by number, those that nothing measures yet among them."""

from collections.abc import Iterable

LECTURES = {
    "signal propagation": "N1 N2 N3 N4 N18 N5 N6 N19 N7 N8 N9 N10 N11 N21 N20 I1 I2 I3 I4 I5 I6 I7 I9 I8 D1 D2 D3 "
    "N22 N23 N24 N25 N26 I10 I11 D24",
    "normalization": "S1 S2 D4 N12 S3 N13 N14 N15 S4 S5 S6 S7 S8 L1 N16 L2 D5 D6 D7 N27 L16 S9 S10 S11 D25 S12",
    "optimization": "L3 L4 L5 D8 L6 L7 L8 N17 L9 D9 L10 L11 L12 L13 D10 D11 L14 L15 D12 D13 L17 L18 L19 D30",
    "regularization, data and search": "D14 D15 D16 D17 D18 D19 D20 D22 D23 D21 D26 D27 D28 D29 S13",
}
IDS = tuple(name for names in LECTURES.values() for name in names.split())


def order(ids: Iterable[str]) -> list[str]:
    """Ids by letter and number.

    >>> order(["N10", "N4", "D12"])
    ['D12', 'N4', 'N10']
    """
    return sorted(ids, key=lambda name: (name[0], int(name[1:])))
