"""Features -> places on a two-dimensional map, for people to look at.

Axes: R records, D features.
"""

import numpy as np
from jaxtyping import Float
from numpy import ndarray


def project_to_map(features_RD: Float[ndarray, "records features"]) -> Float[ndarray, "records 2"]:
    """Places on a map: standardised features, 50 principal components, t-SNE started from the first two, seed 0.

    On one thread: the places do not depend on the machine's number of processors, and on a busy machine the threads of
    t-SNE wait for each other (281 records, two busy cores: 101 s on two threads, 4 s on one).
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        scaled_RD = StandardScaler().fit_transform(features_RD)
        reduced = PCA(min(50, *scaled_RD.shape), svd_solver="full").fit_transform(scaled_RD)
        perplexity = min(30.0, (len(features_RD) - 1) / 3)
        places_R2 = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(reduced)
    return places_R2.astype(np.float64)
