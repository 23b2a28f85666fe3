"""Filling in what is hidden: the donor bank, the cluster-wise KNN rule and the plain rules."""
