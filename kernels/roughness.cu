// What the smoothness of a group model needs of its residuals: their norm, and products of forward differences.
//
//   scale_to_unit_norm    rows (columns, width): squares (width) = sum of squares of the first n_residuals rows, which
//                         are divided by its root, in place; where it is 0 they become 0
//   difference_products   products (6, V): for each voxel of a slab of planes, the sums over the first n_used rows of
//                         xx, xy, xz, yy, yz, zz of forward differences; 0 where neighbours (V, 3) begin with -1
//
// The slab holds voxels first .. first + n_here - 1; `above` holds the plane after it, whose first voxel is first_above
// = first + n_here. The neighbour along z of a voxel on the last plane of the volume is the voxel itself.
//
// Layout    C order, voxels fastest: the twins keep voxels slowest instead, so that a voxel is one short row.
//           All float64; neighbours int64.
// Launch    One thread a voxel, 128 in a block, any 1-D grid.
// Twin      backend/numba_group.py, functions of the same names.
// Test      tests/backend/test_kernels_on_host.py, test_scale_to_unit_norm and test_difference_products.
// Reason    Counted, for n images: 24 n bytes a voxel to scale, and 8 n to 32 n for the products, as far as the second
//           level of cache holds the neighbours. The CuPy expression forms three difference maps an image and
//           six products of them: about 170 n bytes, and 9 n float64 of scratch memory a voxel.

extern "C" __global__ void __launch_bounds__(128) scale_to_unit_norm(
    double* __restrict__ rows, int n_residuals, double* __restrict__ squares, long long width)
{
    const long long step = (long long)gridDim.x * blockDim.x;
    for (long long v = (long long)blockIdx.x * blockDim.x + threadIdx.x; v < width; v += step) {
        double total = 0.0;
        for (int i = 0; i < n_residuals; ++i) total += rows[i * width + v] * rows[i * width + v];
        squares[v] = total;
        const double scale = total > 0.0 ? 1.0 / sqrt(total) : 0.0;
        for (int i = 0; i < n_residuals; ++i) rows[i * width + v] *= scale;
    }
}

extern "C" __global__ void __launch_bounds__(128) difference_products(
    const double* __restrict__ here, const double* __restrict__ above, long long first, long long first_above,
    const long long* __restrict__ neighbours, int n_used, double* __restrict__ products,
    long long n_here, long long n_above, long long n_voxels)
{
    const long long step = (long long)gridDim.x * blockDim.x;
    for (long long row = (long long)blockIdx.x * blockDim.x + threadIdx.x; row < n_here; row += step) {
        const long long v = first + row;
        double xx = 0.0, xy = 0.0, xz = 0.0, yy = 0.0, yz = 0.0, zz = 0.0;
        const long long next_x = neighbours[3 * v];
        if (next_x >= 0) {
            const double* along_x = here + (next_x - first);
            const double* along_y = here + (neighbours[3 * v + 1] - first);
            const long long next_z = neighbours[3 * v + 2];
            const bool inside = next_z < first_above;
            const double* along_z = inside ? here + (next_z - first) : above + (next_z - first_above);
            const long long stride_z = inside ? n_here : n_above;
            for (int i = 0; i < n_used; ++i) {
                const double own = here[i * n_here + row];
                const double dx = along_x[i * n_here] - own;
                const double dy = along_y[i * n_here] - own;
                const double dz = along_z[i * stride_z] - own;
                xx += dx * dx;
                xy += dx * dy;
                xz += dx * dz;
                yy += dy * dy;
                yz += dy * dz;
                zz += dz * dz;
            }
        }
        products[v] = xx;
        products[n_voxels + v] = xy;
        products[2 * n_voxels + v] = xz;
        products[3 * n_voxels + v] = yy;
        products[4 * n_voxels + v] = yz;
        products[5 * n_voxels + v] = zz;
    }
}
