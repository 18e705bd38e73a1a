// Gathers a block of voxels out of the stored series of a run, and centres it.
//
//   centre_block   samples (T, V) as stored, voxels start .. start + width - 1
//                  -> block (T, width) float32 = samples - centre; before (width) = sum of squares over T, in float64
//
// Layout    C order, voxels fastest. centre (V) float64.
// SAMPLE    the stored type, given by -DSAMPLE=...: one compiled module for each type that turns up.
// Launch    blockDim (32, 8): a warp reads 32 neighbouring voxels of one volume; 8 volumes of a voxel are in flight.
//           Any grid: blocks stride over the tiles of 32 voxels.
// Twin      backend/numba_kernels.py, centre_block.
// Test      tests/backend/test_kernels_on_host.py, test_centre_block.
// Reason    Counted, for int16: 6.3 bytes a sample (2 read, 4 written, the rest the centre). The CuPy expression
//           (convert to float64, subtract, round, square, add up) is five passes and 70 bytes a sample.

#ifndef SAMPLE
#define SAMPLE short
#endif
#define TILE 32
#define LANES 8

extern "C" __global__ void __launch_bounds__(TILE * LANES) centre_block(
    const SAMPLE* __restrict__ samples, const double* __restrict__ centre, long long start,
    float* __restrict__ block, double* __restrict__ before,
    int n_volumes, long long n_voxels, int width)
{
    __shared__ double sums[LANES][TILE];
    for (long long tile = (long long)blockIdx.x * TILE; tile < width; tile += (long long)gridDim.x * TILE) {
        const long long v = tile + threadIdx.x;
        double sum = 0.0;
        if (v < width) {
            const double middle = centre[start + v];
            for (int t = threadIdx.y; t < n_volumes; t += LANES) {
                const double value = (double)samples[t * n_voxels + start + v] - middle;
                block[(long long)t * width + v] = (float)value;
                sum += value * value;
            }
        }
        sums[threadIdx.y][threadIdx.x] = sum;
        __syncthreads();
        if (threadIdx.y == 0 && v < width) {
            double total = 0.0;
            for (int lane = 0; lane < LANES; ++lane) total += sums[lane][threadIdx.x];
            before[v] = total;
        }
        __syncthreads();  // the next tile writes sums again
    }
}
