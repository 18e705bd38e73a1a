// Runs the threads of a CUDA launch on one CPU thread, and checks what they do.
//
// Blocks run one after another. A block's threads are fibers: one runs until it waits at a barrier or, under a shuffled
// schedule, until an atomic access where the dice say so; then another goes on. Schedule 0 is forward, 1 backward,
// any other number shuffles blocks and threads and seeds the dice.
//
// Built with -DCHECK, and a kernel built with -fsanitize=thread but linked without its library, the compiler's calls
// for every access end here. The checker knows the arrays of the launch, shared memory, and the fibers' stacks. It reports
//   an access outside all of them, before it is made, and drops the launch;
//   a write through a pointer to const; shared memory read before the block wrote it;
//   a race: two threads touch an element, one at least writes, not both atomically, and neither a barrier (same block)
//   nor the end of the launch lies between.
// It counts bytes, and for each warp's access the 32-byte sectors that it touches.
#include <dlfcn.h>
#include <link.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

struct Index3 { unsigned x, y, z; };
Index3 threadIdx, blockIdx, blockDim, gridDim;

namespace {

constexpr size_t STACK = 64 << 10;
constexpr int MAX_THREADS = 1024;
constexpr unsigned WARP = 32;

char message[512];
bool failed, dropped;

void report(const char* format, ...)
{
    if (failed) return;
    failed = true;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
}

// ---- threads ----

enum class State { ready, waiting, done };
struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[STACK]};
    State state;
    unsigned thread;
};

std::vector<std::unique_ptr<Fiber>> fibers;
Fiber* current;
ucontext_t scheduler;
void (*body)(void*);
void* arguments_;
std::vector<unsigned> order;
size_t next_thread;
unsigned alive, waiting, epoch;
int barrier_line;
uint64_t dice, schedule_;

unsigned roll(unsigned sides)
{
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return (unsigned)(dice >> 33) % sides;
}

void become(unsigned thread)
{
    current->thread = thread;
    threadIdx = {thread % blockDim.x, thread / blockDim.x % blockDim.y, thread / (blockDim.x * blockDim.y)};
}

void leave(State state)
{
    Fiber* self = current;
    self->state = state;
    swapcontext(&self->context, &scheduler);
    current = self;
    become(self->thread);
}

void run_threads()  // one fiber runs thread after thread: only a thread that stops on its way needs one of its own
{
    while (next_thread < order.size()) {
        become(order[next_thread++]);
        body(arguments_);
        if (waiting) report("a thread of block %u ended while others wait at the barrier in line %d", blockIdx.x, barrier_line);
        --alive;
    }
    leave(State::done);
}

void resume(Fiber* fiber)
{
    current = fiber;
    become(fiber->thread);
    swapcontext(&scheduler, &fiber->context);
    current = nullptr;
}

void start_fiber(size_t slot)
{
    if (slot == fibers.size()) fibers.push_back(std::make_unique<Fiber>());
    Fiber* fiber = fibers[slot].get();
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = fiber->stack.get();
    fiber->context.uc_stack.ss_size = STACK;
    fiber->context.uc_link = nullptr;
    makecontext(&fiber->context, run_threads, 0);
    fiber->state = State::ready;
    fiber->thread = order[next_thread];
    resume(fiber);
}

void run_block(unsigned n_threads)
{
    next_thread = 0;
    alive = n_threads;
    waiting = epoch = 0;
    size_t used = 0;
    while (alive) {
        bool moved = false;
        for (size_t i = 0; i < used; ++i)
            if (fibers[i]->state == State::ready) {
                resume(fibers[i].get());
                moved = true;
                if (dropped) return;
            }
        if (next_thread < order.size()) {
            start_fiber(used++);
            moved = true;
            if (dropped) return;
        }
        if (alive && waiting == alive) {
            if (alive != n_threads) report("only %u of %u threads reach the barrier in line %d", alive, n_threads, barrier_line);
            waiting = 0;
            ++epoch;
            moved = true;
            for (size_t i = 0; i < used; ++i)
                if (fibers[i]->state == State::waiting) fibers[i]->state = State::ready;
        }
        if (!moved) {
            report("deadlock: %u of %u threads wait at the barrier in line %d", waiting, alive, barrier_line);
            return;
        }
    }
}

// ---- checks ----

struct Access { uintptr_t place; uint64_t thread; unsigned block, epoch; bool made, atomic; };
struct Element { Access write, read, other_read; };
struct Region { uintptr_t begin, end; unsigned item; bool read_only; std::vector<Element> elements; };
std::vector<Region> regions;
Region shared;
uintptr_t library;
size_t accesses, limit;

struct Traffic { size_t bytes, requests, sectors; } traffic[2];  // read, written
struct Instruction { std::map<unsigned, unsigned> times; std::map<std::pair<unsigned, unsigned>, std::set<uintptr_t>> requests; bool write; };
std::map<uintptr_t, Instruction> instructions;  // of this block

void count_sectors(uintptr_t address, unsigned size, bool write, uintptr_t place)
{
    traffic[write].bytes += size;
    Instruction& instruction = instructions[place * 2 + write];
    instruction.write = write;
    auto& sectors = instruction.requests[{current->thread / WARP, instruction.times[current->thread]++}];
    for (uintptr_t sector = address / 32; sector <= (address + size - 1) / 32; ++sector) sectors.insert(sector);
}

void end_block_counts()
{
    for (auto& [place, instruction] : instructions)
        for (auto& [warp, sectors] : instruction.requests) {
            traffic[instruction.write].requests += 1;
            traffic[instruction.write].sectors += sectors.size();
        }
    instructions.clear();
}

bool clash(const Access& one, const Access& other)
{
    if (!one.made || one.thread == other.thread || (one.atomic && other.atomic)) return false;
    return one.block != other.block || one.epoch == other.epoch;
}

void touch(Element& element, const Access& now, bool write)
{
    const Access* before = clash(element.write, now) ? &element.write : nullptr;
    if (write && clash(element.read, now)) before = &element.read;
    if (write && clash(element.other_read, now)) before = &element.other_read;
    if (before)
        report("race: block %u thread %u at @%lx and block %u thread %u at @%lx", before->block,
               (unsigned)(before->thread % MAX_THREADS), (unsigned long)before->place, now.block, current->thread,
               (unsigned long)now.place);
    if (write)
        element.write = now;
    else if (!element.read.made || element.read.thread == now.thread)
        element.read = now;
    else
        element.other_read = now;
}

void drop_launch()
{
    dropped = true;
    leave(State::done);
}

void check(uintptr_t address, unsigned size, bool write, bool atomic, uintptr_t place)
{
    if (!current) return;
    const uintptr_t stack = (uintptr_t)current->stack.get();
    if (address >= stack && address < stack + STACK) return;
    for (const Index3* index : {&threadIdx, &blockIdx, &blockDim, &gridDim})
        if (address >= (uintptr_t)index && address < (uintptr_t)(index + 1)) return;
    if (++accesses > limit) {
        report("more than %zu accesses: an endless loop?", limit);
        drop_launch();
    }
    place -= library;
    const Access now{place, (uint64_t)blockIdx.x * MAX_THREADS + current->thread, blockIdx.x, epoch, true, atomic};
    if (address >= shared.begin && address + size <= shared.end) {
        for (uintptr_t byte = address - shared.begin; byte < address + size - shared.begin; ++byte) {
            if (!write && !shared.elements[byte].write.made)
                report("shared memory is read before it is written: block %u thread %u at @%lx", blockIdx.x, current->thread, (unsigned long)place);
            touch(shared.elements[byte], now, write);
        }
        return;
    }
    for (Region& region : regions) {
        if (address < region.begin || address + size > region.end) continue;
        if (write && region.read_only) report("a write through a pointer to const at @%lx", (unsigned long)place);
        count_sectors(address, size, write, place);
        touch(region.elements[(address - region.begin) / region.item], now, write);
        return;
    }
    report("%s of %u bytes outside every array: block %u thread %u at @%lx", write ? "write" : "read", size, blockIdx.x, current->thread, (unsigned long)place);
    drop_launch();
}

}  // namespace

// ---- what the kernel calls ----

void host_barrier(int line)
{
    if (!waiting) barrier_line = line;
    if (line != barrier_line) report("threads of block %u wait at different barriers, lines %d and %d", blockIdx.x, barrier_line, line);
    ++waiting;
    leave(State::waiting);
}

void host_atomic_point(void* address, size_t size, bool write)
{
#ifdef CHECK
    check((uintptr_t)address, (unsigned)size, write, true, (uintptr_t)__builtin_return_address(0));
#else
    (void)address, (void)size, (void)write;
#endif
    if (schedule_ > 1 && roll(4) == 0) leave(State::ready);
}

int host_launch(const unsigned* shape, uint64_t schedule, void (*kernel)(void*), void* arguments)
{
    gridDim = {shape[0], shape[1], shape[2]};
    blockDim = {shape[3], shape[4], shape[5]};
    failed = dropped = false;
    message[0] = 0;
    const uint64_t n_threads = (uint64_t)blockDim.x * blockDim.y * blockDim.z;
    if (!n_threads || n_threads > MAX_THREADS || !gridDim.x || gridDim.x > 2147483647u || gridDim.y != 1 || gridDim.z != 1) {
        report("bad launch: grid (%u, %u, %u), block (%u, %u, %u)", shape[0], shape[1], shape[2], shape[3], shape[4], shape[5]);
        return 1;
    }
    body = kernel;
    arguments_ = arguments;
    schedule_ = schedule;
    dice = (schedule + 1) * 0x9E3779B97F4A7C15ull;
    std::vector<unsigned> blocks(gridDim.x);
    for (unsigned b = 0; b < gridDim.x; ++b) blocks[b] = schedule == 1 ? gridDim.x - 1 - b : b;
    order.resize(n_threads);
    for (unsigned t = 0; t < n_threads; ++t) order[t] = schedule == 1 ? (unsigned)n_threads - 1 - t : t;
    if (schedule > 1)
        for (size_t i = blocks.size(); i-- > 1;) std::swap(blocks[i], blocks[roll((unsigned)i + 1)]);
    for (unsigned b : blocks) {
        blockIdx = {b, 0, 0};
        if (schedule > 1)
            for (size_t i = order.size(); i-- > 1;) std::swap(order[i], order[roll((unsigned)i + 1)]);
        if (shared.end > shared.begin) memset((void*)shared.begin, 0xFF, shared.end - shared.begin);  // NaN, -1: rubbish
        std::fill(shared.elements.begin(), shared.elements.end(), Element{});
        run_block((unsigned)n_threads);
        end_block_counts();
        if (failed) return 1;
    }
    return 0;
}

// ---- what Python calls ----

extern "C" {

extern char __start_cudashared[] __attribute__((weak, visibility("hidden")));
extern char __stop_cudashared[] __attribute__((weak, visibility("hidden")));

const char* launch_message() { return message; }

void begin_checks(size_t most_accesses)
{
    Dl_info where;
    dladdr((void*)&begin_checks, &where);
    library = (uintptr_t)where.dli_fbase;
    regions.clear();
    accesses = 0;
    limit = most_accesses;
    traffic[0] = traffic[1] = Traffic{};
    shared.begin = (uintptr_t)__start_cudashared;
    shared.end = (uintptr_t)__stop_cudashared;
    shared.elements.assign(shared.end - shared.begin, Element{});
}

void add_array(void* data, size_t bytes, unsigned item, int read_only)
{
    for (const Region& region : regions)
        if (region.begin == (uintptr_t)data) return;
    regions.push_back({(uintptr_t)data, (uintptr_t)data + bytes, item, (bool)read_only, {}});
#ifdef CHECK
    regions.back().elements.resize(bytes / item);
#endif
}

void read_traffic(size_t* out)
{
    for (int i = 0; i < 2; ++i) {
        out[3 * i] = traffic[i].bytes;
        out[3 * i + 1] = traffic[i].requests;
        out[3 * i + 2] = traffic[i].sectors;
    }
}

#ifdef CHECK
#define PLACE ((uintptr_t)__builtin_return_address(0))
#define HOOKS(n)                                                                                              \
    void __tsan_read##n(void* p) { check((uintptr_t)p, n, false, false, PLACE); }                             \
    void __tsan_write##n(void* p) { check((uintptr_t)p, n, true, false, PLACE); }                             \
    void __tsan_volatile_read##n(void* p) { check((uintptr_t)p, n, false, true, PLACE); }                     \
    void __tsan_volatile_write##n(void* p) { check((uintptr_t)p, n, true, true, PLACE); }
HOOKS(1) HOOKS(2) HOOKS(4) HOOKS(8) HOOKS(16)
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit(void*) {}
#endif

// The compiler's calls before undefined behaviour; their argument begins with the place in the source.
struct SourcePlace { const char* file; uint32_t line, column; };
#define UNDEFINED(what) \
    void __ubsan_handle_##what(const SourcePlace* at)                              \
    {                                                                              \
        report("undefined behaviour, " #what ", in line %u", at->line);           \
        if (current) drop_launch();                                                \
    }
UNDEFINED(add_overflow) UNDEFINED(sub_overflow) UNDEFINED(mul_overflow) UNDEFINED(negate_overflow)
UNDEFINED(divrem_overflow) UNDEFINED(shift_out_of_bounds) UNDEFINED(out_of_bounds) UNDEFINED(type_mismatch_v1)
UNDEFINED(pointer_overflow) UNDEFINED(load_invalid_value) UNDEFINED(float_cast_overflow) UNDEFINED(missing_return)
UNDEFINED(builtin_unreachable) UNDEFINED(vla_bound_not_positive) UNDEFINED(nonnull_arg)
}
