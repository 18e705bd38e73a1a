// What a kernel of kernels/*.cu sees when it is compiled for the host: qualifiers, indices, barriers and atomics.
// The other half is cuda_host.cpp, which runs the threads. Only what the kernels use is here.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <type_traits>
#include <utility>

#define __global__
#define __device__ static
#define __launch_bounds__(...)
#define __shared__ static __attribute__((section("cudashared"), aligned(16)))

struct Index3 { unsigned x, y, z; };
extern Index3 threadIdx, blockIdx, blockDim, gridDim;

void host_barrier(int line);
void host_atomic_point(void* address, size_t size, bool write);  // before an atomic access: checks it, may switch threads

#define __syncthreads() host_barrier(__LINE__)

#define HOST_UNCHECKED __attribute__((noinline, no_sanitize("thread")))

// Between threads that the host switches only where it chooses, plain operations are atomic.
#define HOST_ATOMIC(name, changed)                                        \
    HOST_UNCHECKED static int name(int* p, int value)                     \
    {                                                                     \
        host_atomic_point(p, sizeof *p, true);                            \
        const int old = *p;                                               \
        *p = (changed);                                                   \
        return old;                                                       \
    }
HOST_ATOMIC(atomicAdd, old + value)
HOST_ATOMIC(atomicExch, value)
HOST_ATOMIC(atomicMin, value < old ? value : old)
HOST_ATOMIC(atomicMax, value > old ? value : old)

HOST_UNCHECKED static int host_relaxed_load(const int* p)
{
    host_atomic_point((void*)p, sizeof *p, false);
    return *p;
}
#define RELAXED_LOAD(p) host_relaxed_load(p)

static inline int __float_as_int(float value)
{
    int bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

// ---- how Python calls a kernel: a pointer to each argument, as cuLaunchKernel takes them, and their types as text ----

int host_launch(const unsigned* shape, uint64_t schedule, void (*body)(void*), void* arguments);

template <class T> const char* host_type()
{
    static char text[8];
    if constexpr (std::is_pointer_v<T>) {
        using Item = std::remove_pointer_t<T>;
        snprintf(text, sizeof text, "%c%s", std::is_const_v<Item> ? 'r' : 'w', host_type<std::remove_const_t<Item>>());
    } else {
        const char kind = std::is_floating_point_v<T> ? 'f' : std::is_signed_v<T> ? 'i' : 'u';
        snprintf(text, sizeof text, "%c%zu", kind, sizeof(T));
    }
    return text;
}

template <class... A> struct HostCall {
    void (*kernel)(A...);
    void** arguments;
    template <size_t... I> HOST_UNCHECKED void call(std::index_sequence<I...>) { kernel(*(A*)arguments[I]...); }
    HOST_UNCHECKED static void run(void* self) { ((HostCall*)self)->call(std::index_sequence_for<A...>{}); }
};

template <class... A> int host_start(void (*kernel)(A...), const unsigned* shape, uint64_t schedule, void** arguments)
{
    HostCall<A...> call{kernel, arguments};
    return host_launch(shape, schedule, &HostCall<A...>::run, &call);
}

template <class... A> const char* host_signature(void (*)(A...))
{
    static char text[512];
    text[0] = 0;
    ((strcat(text, host_type<std::remove_cv_t<A>>()), strcat(text, " ")), ...);
    return text;
}

#define HOST_EXPORT(name)                                                                             \
    extern "C" int launch_##name(const unsigned* shape, uint64_t schedule, void** arguments)          \
    { return host_start(name, shape, schedule, arguments); }                                          \
    extern "C" const char* signature_##name() { return host_signature(name); }
