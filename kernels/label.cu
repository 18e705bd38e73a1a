// Clusters of many thresholded maps at once: union-find over voxels, with exact sizes and peaks.
//
//   label_init       labels (N, V) = v where values > threshold, else -1; sizes = 0; peaks = the lowest key
//   label_merge      joins each voxel with its neighbours of lower number: neighbours (V, C), -1 where there is none,
//                    the first C / 2 columns lower (6, 18 or 26 neighbours alike)
//   label_compress   every label becomes that of its root, the lowest voxel number of the cluster
//   label_measure    at the root of each cluster: its number of voxels, and the key of its highest value
//
// The four run one after another on one stream. Sizes and peaks are exact whatever the order of the threads, because
// integer sums and maxima do not depend on it; so are labels, because a root is a minimum.
// A key is the float32 as an integer of the same order: negative bit patterns with all but the sign turned over.
//
// Layout    C order, voxels fastest; labels, sizes, peaks int32. VALUE, the type of the maps, is float or double.
// Launch    One thread a voxel of a map, 128 in a block, any 1-D grid.
// Twin      backend/numba_labels.py, functions of the same names.
// Test      tests/backend/test_kernels_on_host.py, test_label_init, _merge, _compress, _measure and test_labels_of_scipy.
// Reason    No array expression labels components: repeated minima over neighbours need as many passes, of 4 C bytes a
//           voxel, as the longest path in a cluster. Here, counted, a voxel below the threshold costs 28 bytes.
// Reference Komura 2015, Comput Phys Commun 194:54-58; Playne and Hawick 2018, IEEE Trans Parallel Distrib Syst 29:1217.

#ifndef VALUE
#define VALUE float
#endif

// Labels change under the reader's hands while clusters merge: the load must not be kept in a register.
#ifndef RELAXED_LOAD
#define RELAXED_LOAD(p) (*(const volatile int*)(p))
#endif

#define LOWEST_KEY (-2147483647 - 1)

__device__ int find_root(const int* parent, int v)
{
    int above = RELAXED_LOAD(parent + v);
    while (above != v) {
        v = above;
        above = RELAXED_LOAD(parent + v);
    }
    return v;
}

__device__ void unite(int* parent, int a, int b)
{
    for (;;) {
        a = find_root(parent, a);
        b = find_root(parent, b);
        if (a == b) return;
        const int low = a < b ? a : b, high = a < b ? b : a;
        const int before = atomicMin(parent + high, low);
        if (before == high) return;  // it was a root still, and is joined now
        a = before;                  // another thread had joined it: unite what it was joined to
        b = low;
    }
}

extern "C" __global__ void __launch_bounds__(128) label_init(
    const VALUE* __restrict__ values, double threshold, int* __restrict__ labels, int* __restrict__ sizes,
    int* __restrict__ peaks, int n_maps, int n_voxels)
{
    const long long n = (long long)n_maps * n_voxels, step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) {
        labels[i] = (double)values[i] > threshold ? (int)(i % n_voxels) : -1;
        sizes[i] = 0;
        peaks[i] = LOWEST_KEY;
    }
}

extern "C" __global__ void __launch_bounds__(128) label_merge(
    int* labels, const int* __restrict__ neighbours, int n_maps, int n_voxels, int n_neighbours)
{
    const long long n = (long long)n_maps * n_voxels, step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) {
        if (RELAXED_LOAD(labels + i) < 0) continue;
        const int v = (int)(i % n_voxels);
        int* parent = labels + (i - v);
        for (int c = 0; c < n_neighbours / 2; ++c) {
            const int other = neighbours[(long long)v * n_neighbours + c];
            if (other >= 0 && RELAXED_LOAD(parent + other) >= 0) unite(parent, v, other);
        }
    }
}

extern "C" __global__ void __launch_bounds__(128) label_compress(int* labels, int n_maps, int n_voxels)
{
    const long long n = (long long)n_maps * n_voxels, step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) {
        if (RELAXED_LOAD(labels + i) < 0) continue;
        const int v = (int)(i % n_voxels);
        int* parent = labels + (i - v);
        atomicExch(parent + v, find_root(parent, v));
    }
}

extern "C" __global__ void __launch_bounds__(128) label_measure(
    const VALUE* __restrict__ values, const int* __restrict__ labels, int* sizes, int* peaks, int n_maps, int n_voxels)
{
    const long long n = (long long)n_maps * n_voxels, step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) {
        if (labels[i] < 0) continue;
        const long long root = i - i % n_voxels + labels[i];
        const int bits = __float_as_int((float)values[i]);
        atomicAdd(sizes + root, 1);
        atomicMax(peaks + root, bits >= 0 ? bits : bits ^ 0x7fffffff);
    }
}
