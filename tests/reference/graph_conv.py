"""The graph convolution as the paper writes it: convolve, then sum over neighbours."""

import numpy as np


def convolve_graph(x, graph, weight, bias):
    """Return (n, n_out, t, v): for each partition a 1x1 convolution, then the neighbours' sum.

    Parameters
    ----------
    x : ndarray of shape (n, n_in, t, v)
    graph : ndarray of shape (3, v, v)
        Element [k, v, w] weighs what joint w receives from joint v.
    weight : ndarray of shape (3 * n_out, n_in)
        Output channels of the first partition first.
    bias : ndarray of shape (3 * n_out,)
    """
    n, _, t, v = x.shape
    n_out = len(bias) // 3
    total = np.zeros((n, n_out, t, v))
    for k in range(3):
        rows = slice(k * n_out, (k + 1) * n_out)
        for target in range(v):
            for source in range(v):
                message = np.einsum("oc,nct->not", weight[rows], x[..., source])
                message += bias[rows][None, :, None]
                total[..., target] += message * graph[k, source, target]
    return total
