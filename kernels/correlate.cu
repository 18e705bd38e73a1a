// Turns products of compressed voxel signals with unit seeds into Pearson r and Fisher z.
//
//   finish_correlations   signal (K, width), dots (S, width), before (width)
//                         -> r, z (S, V), retained (V), at voxels start .. start + width - 1
//
// The norm of each signal is summed in float64. r = dots / norm, held within 1 - 1e-7; z = atanh r, in float64.
// retained = norm / sqrt(before). A voxel without variance gives 0 in all three.
//
// Layout    C order, voxels fastest. signal and dots float32, before float64 (sums of squares, from centre_block).
// Launch    blockDim (32, 8): 32 voxels, 8 components and then 8 seeds at a time. Any grid: blocks stride over tiles.
// Twin      backend/numba_kernels.py, finish_correlations.
// Test      tests/backend/test_kernels_on_host.py, test_finish_correlations.
// Reason    Counted, for K = 100 and S = 6: 432 bytes read and 52 written a voxel, once. The CuPy expression (square in
//           float64, add up, root, divide, clip, three passes of the logarithm in float64) moves about 2,900.

#define TILE 32
#define LANES 8

extern "C" __global__ void __launch_bounds__(TILE * LANES) finish_correlations(
    const float* __restrict__ signal, const float* __restrict__ dots, const double* __restrict__ before, long long start,
    float* __restrict__ r, float* __restrict__ z, float* __restrict__ retained,
    int n_components, int n_seeds, int width, long long n_voxels)
{
    __shared__ double sums[LANES][TILE];
    const double limit = 1.0 - 1e-7;
    for (long long tile = (long long)blockIdx.x * TILE; tile < width; tile += (long long)gridDim.x * TILE) {
        const long long v = tile + threadIdx.x;
        double sum = 0.0;
        if (v < width)
            for (int k = threadIdx.y; k < n_components; k += LANES) {
                const double value = signal[(long long)k * width + v];
                sum += value * value;
            }
        sums[threadIdx.y][threadIdx.x] = sum;
        __syncthreads();
        if (v < width) {
            double norm = 0.0;
            for (int lane = 0; lane < LANES; ++lane) norm += sums[lane][threadIdx.x];
            norm = sqrt(norm);
            if (threadIdx.y == 0) retained[start + v] = before[v] > 0.0 ? (float)(norm / sqrt(before[v])) : 0.0f;
            for (int s = threadIdx.y; s < n_seeds; s += LANES) {
                double value = norm > 0.0 ? dots[(long long)s * width + v] / norm : 0.0;
                value = value > limit ? limit : value < -limit ? -limit : value;
                const long long at = s * n_voxels + start + v;
                r[at] = (float)value;
                z[at] = (float)(0.5 * log((1.0 + value) / (1.0 - value)));
            }
        }
        __syncthreads();  // the next tile writes sums again
    }
}
