"""The adjacency matrices of ST-GCN, edge by edge, from the published list of bones."""

BONES = (
    *((1, 2), (2, 21), (3, 21), (4, 3), (5, 21), (6, 5), (7, 6), (8, 7), (9, 21), (10, 9)),
    *((11, 10), (12, 11), (13, 1), (14, 13), (15, 14), (16, 15), (17, 1), (18, 17), (19, 18)),
    *((20, 19), (22, 23), (23, 8), (24, 25), (25, 12)),
)
"""Joints of NTU RGB+D, counted from 1 as its authors do."""
CENTER = 21
N_JOINTS = 25
FAR = 10**6


def hops_to_center():
    """Return the number of bones between each joint (from 1) and the centre."""
    hops = {CENTER: 0}
    while len(hops) < N_JOINTS:
        for a, b in BONES:
            for near, far in ((a, b), (b, a)):
                if near in hops and far not in hops:
                    hops[far] = hops[near] + 1
    return hops


def adjacency(partition):
    """Return nested lists [k][source][target], joints from 0."""
    hops = hops_to_center()
    if partition == "st-gcn":  # its hop distances end at 1
        hops = {joint: distance if distance <= 1 else FAR for joint, distance in hops.items()}
    joints = range(1, N_JOINTS + 1)
    neighbors = {joint: {joint} for joint in joints}
    for a, b in BONES:
        neighbors[a].add(b)
        neighbors[b].add(a)
    parts = [[[0.0] * N_JOINTS for _ in joints] for _ in range(3)]
    for target in joints:
        for source in neighbors[target]:
            k = 0 if hops[source] == hops[target] else 1 if hops[source] < hops[target] else 2
            parts[k][source - 1][target - 1] = 1 / len(neighbors[target])
    return parts
