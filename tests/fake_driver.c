// A CUDA driver without a GPU, for tests: what libcuda.so.1 exports, as far as numba-cuda, cuda.core and cuda.bindings
// ask for it. Device memory is host memory, so copies are real; a kernel launch is checked and logged, and computes
// nothing. Stream capture, graphs, events, errors and limits follow the real driver's rules where a program could break
// them. Built and steered by fake_driver.py, through the environment:
//
//   FAKE_CUDA_LOG             a file that gets one line a call: "cuMemAlloc bytes=4096", or "cuMemAlloc error=2"
//   FAKE_CUDA_DEVICES         0 for a machine whose driver finds no device, otherwise 1
//   FAKE_CUDA_DRIVER_VERSION  as cuDriverGetVersion says it, 13000 by default; below that CUDA 13's functions and
//                             images are unknown
//   FAKE_CUDA_MEMORY          the device's memory in bytes
//   FAKE_CUDA_FAIL            rules "call:code[:nth[:later]]" between commas. The call is a glob ("cuLaunch*"); without
//                             nth each such call fails. With later the call itself succeeds, and the next one that
//                             waits for the device has the error, as when a kernel fails.
//
// A function that is missing here is missing for the caller too: cuda.bindings then says which one.
#define _GNU_SOURCE
#include <cuda.h>
#include <dlfcn.h>
#include <elf.h>
#include <fnmatch.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

// The H200 that this driver claims to have.
#define MULTIPROCESSORS 132
#define REGISTERS 65536
#define THREADS_PER_MULTIPROCESSOR 2048
#define SHARED_PER_MULTIPROCESSOR (228 * 1024)
#define SHARED_OPT_IN (227 * 1024)
#define SHARED_DEFAULT (48 * 1024)
#define SHARED_RESERVED 1024
#define MEMORY 150109618176ull

static const struct {
    CUdevice_attribute attribute;
    int value;
} ATTRIBUTES[] = {
    {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 1024},
    {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X, 1024},
    {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y, 1024},
    {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z, 64},
    {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X, 2147483647},
    {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y, 65535},
    {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z, 65535},
    {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, SHARED_DEFAULT},
    {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, SHARED_OPT_IN},
    {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, SHARED_PER_MULTIPROCESSOR},
    {CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK, SHARED_RESERVED},
    {CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY, 65536},
    {CU_DEVICE_ATTRIBUTE_WARP_SIZE, 32},
    {CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK, REGISTERS},
    {CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR, REGISTERS},
    {CU_DEVICE_ATTRIBUTE_CLOCK_RATE, 1980000},
    {CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE, 3201000},
    {CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH, 6144},
    {CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, 62914560},
    {CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, MULTIPROCESSORS},
    {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, THREADS_PER_MULTIPROCESSOR},
    {CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR, 32},
    {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 9},
    {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0},
    {CU_DEVICE_ATTRIBUTE_SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO, 2},
    {CU_DEVICE_ATTRIBUTE_PCI_BUS_ID, 23},
    {CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT, 3},
    {CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY, 1},
    {CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS, 1},
    {CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS, 1},
    {CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH, 1},
    {CU_DEVICE_ATTRIBUTE_ECC_ENABLED, 1},
    {CU_DEVICE_ATTRIBUTE_GLOBAL_L1_CACHE_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_LOCAL_L1_CACHE_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY, 1},
    {CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 1},
};

static const struct {
    CUresult code;
    const char *name, *text;
} ERRORS[] = {
#define ERROR(code, text) {code, #code, text}
    ERROR(CUDA_SUCCESS, "no error"),
    ERROR(CUDA_ERROR_INVALID_VALUE, "invalid argument"),
    ERROR(CUDA_ERROR_OUT_OF_MEMORY, "out of memory"),
    ERROR(CUDA_ERROR_NOT_INITIALIZED, "initialization error"),
    ERROR(CUDA_ERROR_DEINITIALIZED, "driver shutting down"),
    ERROR(CUDA_ERROR_STUB_LIBRARY, "CUDA driver is a stub library"),
    ERROR(CUDA_ERROR_DEVICE_UNAVAILABLE, "CUDA-capable device(s) is/are busy or unavailable"),
    ERROR(CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected"),
    ERROR(CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal"),
    ERROR(CUDA_ERROR_INVALID_IMAGE, "device kernel image is invalid"),
    ERROR(CUDA_ERROR_INVALID_CONTEXT, "invalid device context"),
    ERROR(CUDA_ERROR_NO_BINARY_FOR_GPU, "no kernel image is available for execution on the device"),
    ERROR(CUDA_ERROR_ECC_UNCORRECTABLE, "uncorrectable ECC error encountered"),
    ERROR(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, "the provided PTX was compiled with an unsupported toolchain."),
    ERROR(CUDA_ERROR_INVALID_HANDLE, "invalid resource handle"),
    ERROR(CUDA_ERROR_ILLEGAL_STATE, "the operation cannot be performed in the present state"),
    ERROR(CUDA_ERROR_NOT_FOUND, "named symbol not found"),
    ERROR(CUDA_ERROR_NOT_READY, "device not ready"),
    ERROR(CUDA_ERROR_ILLEGAL_ADDRESS, "an illegal memory access was encountered"),
    ERROR(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "too many resources requested for launch"),
    ERROR(CUDA_ERROR_LAUNCH_TIMEOUT, "the launch timed out and was terminated"),
    ERROR(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, "part or all of the requested memory range is already mapped"),
    ERROR(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, "pointer does not correspond to a registered memory region"),
    ERROR(CUDA_ERROR_LAUNCH_FAILED, "unspecified launch failure"),
    ERROR(CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE, "too many blocks in cooperative launch"),
    ERROR(CUDA_ERROR_NOT_SUPPORTED, "operation not supported"),
    ERROR(CUDA_ERROR_SYSTEM_NOT_READY, "system not yet initialized"),
    ERROR(CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, "system has unsupported display driver / cuda driver combination"),
    ERROR(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "operation not permitted when stream is capturing"),
    ERROR(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "operation failed due to a previous error during capture"),
    ERROR(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "capture was not initiated in this stream"),
    ERROR(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, "operation would make the legacy stream depend on a capturing blocking stream"),
    ERROR(CUDA_ERROR_CAPTURED_EVENT, "operation not permitted on an event last recorded in a capturing stream"),
    ERROR(CUDA_ERROR_UNKNOWN, "unknown error"),
};

// ---- Objects behind the handles. None is ever freed, so that a destroyed one is recognized.

enum magic { DESTROYED = 1, CONTEXT = 0xC0DA, STREAM, EVENT, LIBRARY, KERNEL, GRAPH, EXEC };

struct object {
    enum magic magic;
};

struct context {
    enum magic magic;
    int retained;
};

enum work { LAUNCH, COPY, SET, MARK };

struct node {
    enum work work;
    void *to;
    const void *from;
    size_t bytes; // SET: the number of elements
    unsigned value, width;
};

struct graph {
    enum magic magic;
    CUstreamCaptureMode mode;
    int invalid, count, capacity;
    struct node *nodes;
};

struct stream {
    enum magic magic;
    unsigned flags;
    int priority;
    struct graph *capture; // what its work goes into, NULL when it does not capture
    int origin;            // it began the capture, others have joined through an event
    struct stream *next;
};

struct event {
    enum magic magic;
    unsigned flags;
    int recorded;
    double time;
    struct graph *capture;
};

struct library {
    enum magic magic;
    char *image;
    size_t size;
    struct kernel *kernels;
};

struct kernel {
    enum magic magic;
    char *name;
    struct library *library;
    int registers, shared, local, parameters, dynamic, carveout;
    int sizes[512];
    struct kernel *next;
};

struct memory {
    char *start;
    size_t bytes;
    int kind; // one of CU_MEMORYTYPE_DEVICE, _HOST (allocated here), _UNIFIED (managed), or REGISTERED
    struct memory *next;
};
#define REGISTERED 0

struct rule {
    char call[64];
    int code, nth, later, seen;
};

static pthread_mutex_t mutex = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static int initialized;
static struct context primary = {.magic = CONTEXT};
static struct stream *streams;
static struct memory *memories;
static size_t used;
static CUresult broken;  // after this error nothing works any more
static CUresult pending; // of work already accepted, found at the next wait
static struct rule *rules;
static int rule_count = -1; // not read yet
static __thread struct context *stack[64];
static __thread int depth;
static __thread CUstreamCaptureMode thread_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;

// ---- Log and planned failures.

static long long steer(const char *name, long long otherwise)
{
    const char *value = getenv(name);
    return value && *value ? atoll(value) : otherwise;
}

// cuMemAlloc for cuMemAlloc_v2: users of the API never see the suffix.
static void plain(const char *function, char name[64])
{
    snprintf(name, 64, "%s", function);
    char *suffix = strstr(name, "_v");
    if (suffix)
        *suffix = 0;
}

static void note(const char *function, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void note(const char *function, const char *format, ...)
{
    static FILE *log;
    const char *path = getenv("FAKE_CUDA_LOG");
    if (!log && (!path || !*path || !(log = fopen(path, "a"))))
        return;
    char name[64];
    plain(function, name);
    va_list arguments;
    va_start(arguments, format);
    fprintf(log, "%s ", name);
    vfprintf(log, format, arguments);
    fputc('\n', log);
    fflush(log);
    va_end(arguments);
}

static CUresult failure(const char *function, CUresult code)
{
    if (code != CUDA_SUCCESS)
        note(function, "error=%d", code);
    return code;
}

// Also from inside the process: ctypes.CDLL("libcuda.so.1").fake_cuda_fail(b"cuMemAlloc:2:1")
void fake_cuda_fail(const char *text)
{
    pthread_mutex_lock(&mutex);
    rule_count = 0;
    char *copy = strdup(text ? text : ""), *rest = copy, *item;
    while ((item = strsep(&rest, ","))) {
        struct rule rule = {.nth = 0};
        char later[16] = "";
        if (sscanf(item, "%63[^:]:%d:%d:%15s", rule.call, &rule.code, &rule.nth, later) < 2)
            continue;
        rule.later = !strcmp(later, "later");
        rules = realloc(rules, (rule_count + 1) * sizeof *rules);
        rules[rule_count++] = rule;
    }
    free(copy);
    pthread_mutex_unlock(&mutex);
}

static int sticky(CUresult code)
{
    return (code >= CUDA_ERROR_ILLEGAL_INSTRUCTION && code <= CUDA_ERROR_LAUNCH_FAILED) || code == CUDA_ERROR_ASSERT ||
           code == CUDA_ERROR_ILLEGAL_ADDRESS || code == CUDA_ERROR_LAUNCH_TIMEOUT || code == CUDA_ERROR_ECC_UNCORRECTABLE;
}

static CUresult planned(const char *function)
{
    if (rule_count < 0)
        fake_cuda_fail(getenv("FAKE_CUDA_FAIL"));
    char name[64];
    plain(function, name);
    for (int i = 0; i < rule_count; i++) {
        struct rule *rule = &rules[i];
        if (fnmatch(rule->call, name, 0) || (++rule->seen != rule->nth && rule->nth))
            continue;
        if (rule->later) {
            pending = rule->code;
            continue;
        }
        if (sticky(rule->code))
            broken = rule->code;
        return rule->code;
    }
    return CUDA_SUCCESS;
}

static void unlock(pthread_mutex_t **held)
{
    pthread_mutex_unlock(*held);
}

static CUresult wait_for_device(void)
{
    CUresult found = pending;
    pending = CUDA_SUCCESS;
    if (sticky(found))
        broken = found;
    return found;
}

// What a call needs: cuInit before it, that no error has broken the context, that this thread has a context; one that
// waits for the device needs all of that.
enum needs { NOTHING, DRIVER, HEALTHY, WORKING, WAITING };

static CUresult enter(const char *function, enum needs needs)
{
    if (needs >= DRIVER && !initialized)
        return CUDA_ERROR_NOT_INITIALIZED;
    if (needs >= HEALTHY && broken)
        return broken;
    CUresult code = planned(function);
    if (code == CUDA_SUCCESS && needs >= WORKING && !depth)
        code = CUDA_ERROR_INVALID_CONTEXT;
    if (code == CUDA_SUCCESS && needs == WAITING)
        code = wait_for_device();
    return code;
}

#define LOCK() pthread_mutex_t *held __attribute__((cleanup(unlock))) = (pthread_mutex_lock(&mutex), &mutex)
#define FAIL(code) return failure(__func__, (code))
#define TRY(expression)                                                                                                \
    do {                                                                                                               \
        CUresult tried = (expression);                                                                                 \
        if (tried != CUDA_SUCCESS)                                                                                     \
            FAIL(tried);                                                                                               \
    } while (0)
#define ENTER(needs)                                                                                                   \
    LOCK();                                                                                                            \
    TRY(enter(__func__, needs))
#define NOTE(...) note(__func__, __VA_ARGS__)

static int is(const void *handle, enum magic magic)
{
    return handle && ((const struct object *)handle)->magic == magic;
}

// ---- Capture.

// The streams 0, CU_STREAM_LEGACY and CU_STREAM_PER_THREAD have no object.
static struct stream *own(CUstream handle)
{
    return (size_t)handle > 2 ? (struct stream *)handle : NULL;
}

// What the driver refuses while any stream captures, unless that capture or this thread is relaxed: it could wait for
// work that is only recorded. The capture is lost with it.
static CUresult unsafe_in_capture(void)
{
    CUresult code = CUDA_SUCCESS;
    for (struct stream *stream = streams; stream; stream = stream->next)
        if (stream->capture && stream->capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED &&
            thread_mode != CU_STREAM_CAPTURE_MODE_RELAXED) {
            stream->capture->invalid = 1;
            code = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        }
    return code;
}

// Whether the stream takes work: the legacy stream waits for blocking streams, so not for one that captures.
static CUresult accepts(CUstream handle)
{
    struct stream *stream = own(handle);
    if (stream)
        return !is(stream, STREAM)                           ? CUDA_ERROR_INVALID_HANDLE
               : stream->capture && stream->capture->invalid ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
                                                             : CUDA_SUCCESS;
    CUresult code = CUDA_SUCCESS;
    for (stream = streams; stream; stream = stream->next)
        if (stream->capture && !(stream->flags & CU_STREAM_NON_BLOCKING) && handle != CU_STREAM_PER_THREAD) {
            stream->capture->invalid = 1;
            code = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
        }
    return code;
}

static void perform(const struct node *node)
{
    if (node->work == COPY)
        memmove(node->to, node->from, node->bytes);
    if (node->work == SET)
        for (size_t i = 0; i < node->bytes; i++)
            memcpy((char *)node->to + i * node->width, &node->value, node->width);
}

static void submit(CUstream handle, struct node node)
{
    struct stream *stream = own(handle);
    if (!stream || !stream->capture) {
        perform(&node);
        return;
    }
    struct graph *graph = stream->capture;
    if (graph->count == graph->capacity) {
        graph->capacity = 2 * graph->capacity + 8;
        graph->nodes = realloc(graph->nodes, graph->capacity * sizeof node);
    }
    graph->nodes[graph->count++] = node;
}

static int captures(CUstream handle)
{
    return own(handle) && own(handle)->capture;
}

// ---- Finding functions, versions, errors.

static int driver_version(void)
{
    return steer("FAKE_CUDA_DRIVER_VERSION", 13000);
}

CUresult cuGetProcAddress(const char *symbol, void **function, int version, cuuint64_t flags,
                          CUdriverProcAddressQueryResult *status)
{
    // The newest variant that is written down here.
    static const char *const SUFFIXES[] = {"_v4", "_v3", "_v2", ""};
    Dl_info self;
    dladdr((void *)fake_cuda_fail, &self);
    void *library = dlopen(self.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    *function = NULL;
    if (!strcmp(symbol, "cuGraphInstantiate"))
        symbol = "cuGraphInstantiateWithFlags";
    for (size_t i = 0; i < COUNT(SUFFIXES) && !*function; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s%s", symbol, SUFFIXES[i]);
        *function = dlsym(library, name);
    }
    dlclose(library);
    CUdriverProcAddressQueryResult found = CU_GET_PROC_ADDRESS_SUCCESS;
    if (!*function)
        found = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    else if (version > driver_version())
        found = CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT;
    if (status)
        *status = found;
    if (found == CU_GET_PROC_ADDRESS_SUCCESS)
        return CUDA_SUCCESS;
    *function = NULL;
    return CUDA_ERROR_NOT_FOUND;
}

#undef cuGetProcAddress
CUresult cuGetProcAddress(const char *symbol, void **function, int version, cuuint64_t flags)
{
    return cuGetProcAddress_v2(symbol, function, version, flags, NULL);
}

CUresult cuInit(unsigned flags)
{
    ENTER(NOTHING);
    if (!steer("FAKE_CUDA_DEVICES", 1))
        FAIL(CUDA_ERROR_NO_DEVICE);
    initialized = 1;
    NOTE("done=1");
    return CUDA_SUCCESS;
}

CUresult cuDriverGetVersion(int *version)
{
    ENTER(NOTHING);
    *version = driver_version();
    return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult error, const char **name)
{
    for (size_t i = 0; i < COUNT(ERRORS); i++)
        if (ERRORS[i].code == error) {
            *name = ERRORS[i].name;
            return CUDA_SUCCESS;
        }
    *name = NULL;
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorString(CUresult error, const char **text)
{
    for (size_t i = 0; i < COUNT(ERRORS); i++)
        if (ERRORS[i].code == error) {
            *text = ERRORS[i].text;
            return CUDA_SUCCESS;
        }
    *text = NULL;
    return CUDA_ERROR_INVALID_VALUE;
}

// ---- Devices.

CUresult cuDeviceGetCount(int *count)
{
    ENTER(DRIVER);
    *count = 1;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    ENTER(DRIVER);
    if (ordinal)
        FAIL(CUDA_ERROR_INVALID_DEVICE);
    *device = 0;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char *name, int length, CUdevice device)
{
    ENTER(DRIVER);
    snprintf(name, length, "NVIDIA H200");
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice device)
{
    ENTER(DRIVER);
    for (int i = 0; i < 16; i++)
        uuid->bytes[i] = (char)(0xfa + i);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetPCIBusId(char *id, int length, CUdevice device)
{
    ENTER(DRIVER);
    snprintf(id, length, "0000:17:00.0");
    return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem(size_t *bytes, CUdevice device)
{
    ENTER(DRIVER);
    *bytes = steer("FAKE_CUDA_MEMORY", MEMORY);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device)
{
    ENTER(DRIVER);
    if (device)
        FAIL(CUDA_ERROR_INVALID_DEVICE);
    *value = 0;
    for (size_t i = 0; i < COUNT(ATTRIBUTES); i++)
        if (ATTRIBUTES[i].attribute == attribute)
            *value = ATTRIBUTES[i].value;
    return CUDA_SUCCESS;
}

CUresult cuDeviceCanAccessPeer(int *can, CUdevice device, CUdevice peer)
{
    ENTER(DRIVER);
    *can = 0;
    return CUDA_SUCCESS;
}

// ---- Contexts: the primary one only.

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device)
{
    ENTER(DRIVER);
    primary.retained++;
    *context = (CUcontext)&primary;
    NOTE("done=1");
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease(CUdevice device)
{
    ENTER(DRIVER);
    if (!primary.retained)
        FAIL(CUDA_ERROR_INVALID_CONTEXT);
    primary.retained--;
    NOTE("done=1");
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxReset(CUdevice device)
{
    ENTER(DRIVER);
    NOTE("done=1");
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *active)
{
    ENTER(DRIVER);
    *flags = 0;
    *active = primary.retained > 0;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext *context)
{
    ENTER(DRIVER);
    *context = depth ? (CUcontext)stack[depth - 1] : NULL;
    return CUDA_SUCCESS;
}

CUresult cuCtxPushCurrent(CUcontext context)
{
    ENTER(DRIVER);
    if (!is(context, CONTEXT) || depth == COUNT(stack))
        FAIL(CUDA_ERROR_INVALID_CONTEXT);
    stack[depth++] = (struct context *)context;
    return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent(CUcontext *context)
{
    ENTER(DRIVER);
    if (!depth)
        FAIL(CUDA_ERROR_INVALID_CONTEXT);
    struct context *top = stack[--depth];
    if (context)
        *context = (CUcontext)top;
    return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext context)
{
    ENTER(DRIVER);
    depth -= depth > 0;
    if (context)
        stack[depth++] = (struct context *)context;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice *device)
{
    ENTER(DRIVER);
    if (!depth)
        FAIL(CUDA_ERROR_INVALID_CONTEXT);
    *device = 0;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetId(CUcontext context, unsigned long long *id)
{
    ENTER(DRIVER);
    *id = 1;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetApiVersion(CUcontext context, unsigned *version)
{
    ENTER(DRIVER);
    *version = 3020;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest)
{
    ENTER(WORKING);
    *least = 0;
    *greatest = -5;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetLimit(size_t *value, CUlimit limit)
{
    ENTER(WORKING);
    *value = 1024;
    return CUDA_SUCCESS;
}

CUresult cuCtxSetLimit(CUlimit limit, size_t value)
{
    ENTER(WORKING);
    return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize(void)
{
    ENTER(WAITING);
    TRY(unsafe_in_capture());
    NOTE("done=1");
    return CUDA_SUCCESS;
}

CUresult cuProfilerStart(void)
{
    return CUDA_SUCCESS;
}

CUresult cuProfilerStop(void)
{
    return CUDA_SUCCESS;
}

// ---- Memory.

static struct memory *memory_at(const void *pointer)
{
    for (struct memory *memory = memories; memory; memory = memory->next)
        if ((char *)pointer >= memory->start && (char *)pointer < memory->start + memory->bytes)
            return memory;
    return NULL;
}

// A kernel could reach all of it, so could a copy on the device.
static int on_device(const void *pointer, size_t bytes)
{
    struct memory *memory = memory_at(pointer);
    return !bytes || (memory && (char *)pointer + bytes <= memory->start + memory->bytes);
}

static CUresult allocate(void **pointer, size_t bytes, int kind)
{
    size_t total = steer("FAKE_CUDA_MEMORY", MEMORY);
    int counts = kind != CU_MEMORYTYPE_HOST;
    if (!bytes)
        return CUDA_ERROR_INVALID_VALUE;
    if (counts && (bytes > total || used > total - bytes))
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (posix_memalign(pointer, 512, bytes))
        return CUDA_ERROR_OUT_OF_MEMORY;
    // New memory is never zero here, so nobody comes to rely on it.
    memset(*pointer, 0xA5, bytes < 1 << 20 ? bytes : 1 << 20);
    struct memory *memory = malloc(sizeof *memory);
    *memory = (struct memory){*pointer, bytes, kind, memories};
    memories = memory;
    used += counts ? bytes : 0;
    return CUDA_SUCCESS;
}

static CUresult forget(void *pointer)
{
    for (struct memory **link = &memories; *link; link = &(*link)->next) {
        struct memory *memory = *link;
        if (memory->start != pointer)
            continue;
        *link = memory->next;
        if (memory->kind == CU_MEMORYTYPE_DEVICE || memory->kind == CU_MEMORYTYPE_UNIFIED)
            used -= memory->bytes;
        if (memory->kind != REGISTERED)
            free(memory->start);
        free(memory);
        return CUDA_SUCCESS;
    }
    return pointer ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult cuMemGetInfo(size_t *available, size_t *total)
{
    ENTER(WORKING);
    *total = steer("FAKE_CUDA_MEMORY", MEMORY);
    *available = *total - used;
    return CUDA_SUCCESS;
}

CUresult cuMemAlloc(CUdeviceptr *pointer, size_t bytes)
{
    ENTER(WORKING);
    TRY(unsafe_in_capture());
    TRY(allocate((void **)pointer, bytes, CU_MEMORYTYPE_DEVICE));
    NOTE("bytes=%zu", bytes);
    return CUDA_SUCCESS;
}

CUresult cuMemFree(CUdeviceptr pointer)
{
    ENTER(HEALTHY);
    TRY(unsafe_in_capture());
    TRY(forget((void *)pointer));
    NOTE("done=1");
    return CUDA_SUCCESS;
}

CUresult cuMemAllocManaged(CUdeviceptr *pointer, size_t bytes, unsigned flags)
{
    ENTER(WORKING);
    TRY(unsafe_in_capture());
    TRY(allocate((void **)pointer, bytes, CU_MEMORYTYPE_UNIFIED));
    NOTE("bytes=%zu", bytes);
    return CUDA_SUCCESS;
}

CUresult cuMemHostAlloc(void **pointer, size_t bytes, unsigned flags)
{
    ENTER(WORKING);
    TRY(unsafe_in_capture());
    TRY(allocate(pointer, bytes, CU_MEMORYTYPE_HOST));
    NOTE("bytes=%zu flags=%u", bytes, flags);
    return CUDA_SUCCESS;
}

CUresult cuMemAllocHost(void **pointer, size_t bytes)
{
    return cuMemHostAlloc(pointer, bytes, 0);
}

CUresult cuMemFreeHost(void *pointer)
{
    ENTER(HEALTHY);
    TRY(unsafe_in_capture());
    TRY(forget(pointer));
    NOTE("done=1");
    return CUDA_SUCCESS;
}

CUresult cuMemHostRegister(void *pointer, size_t bytes, unsigned flags)
{
    ENTER(WORKING);
    TRY(unsafe_in_capture());
    if (memory_at(pointer))
        FAIL(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
    struct memory *memory = malloc(sizeof *memory);
    *memory = (struct memory){pointer, bytes, REGISTERED, memories};
    memories = memory;
    NOTE("bytes=%zu", bytes);
    return CUDA_SUCCESS;
}

CUresult cuMemHostUnregister(void *pointer)
{
    ENTER(HEALTHY);
    struct memory *memory = memory_at(pointer);
    if (!memory || memory->kind != REGISTERED)
        FAIL(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
    TRY(forget(pointer));
    NOTE("done=1");
    return CUDA_SUCCESS;
}

CUresult cuMemHostGetDevicePointer(CUdeviceptr *pointer, void *host, unsigned flags)
{
    ENTER(WORKING);
    if (!memory_at(host))
        FAIL(CUDA_ERROR_INVALID_VALUE);
    *pointer = (CUdeviceptr)host;
    return CUDA_SUCCESS;
}

CUresult cuMemGetAddressRange(CUdeviceptr *start, size_t *bytes, CUdeviceptr pointer)
{
    ENTER(WORKING);
    struct memory *memory = memory_at((void *)pointer);
    if (!memory)
        FAIL(CUDA_ERROR_NOT_FOUND);
    if (start)
        *start = (CUdeviceptr)memory->start;
    if (bytes)
        *bytes = memory->bytes;
    return CUDA_SUCCESS;
}

static CUresult pointer_attribute(void *data, CUpointer_attribute attribute, CUdeviceptr pointer)
{
    struct memory *memory = memory_at((void *)pointer);
    switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
        *(void **)data = memory ? &primary : NULL;
        break;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        *(unsigned *)data = !memory                                 ? 0
                            : memory->kind == CU_MEMORYTYPE_DEVICE  ? CU_MEMORYTYPE_DEVICE
                            : memory->kind == CU_MEMORYTYPE_UNIFIED ? CU_MEMORYTYPE_DEVICE
                                                                    : CU_MEMORYTYPE_HOST;
        break;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
        *(CUdeviceptr *)data = memory ? pointer : 0;
        break;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
        *(int *)data = memory && memory->kind == CU_MEMORYTYPE_UNIFIED;
        break;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
        *(int *)data = memory ? 0 : -2;
        break;
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
        *(void **)data = memory ? memory->start : NULL;
        break;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
        *(size_t *)data = memory ? memory->bytes : 0;
        break;
    default:
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    return memory ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr pointer)
{
    ENTER(WORKING);
    TRY(pointer_attribute(data, attribute, pointer));
    return CUDA_SUCCESS;
}

// Of an unknown pointer this one says zeros instead of an error.
CUresult cuPointerGetAttributes(unsigned count, CUpointer_attribute *attributes, void **data, CUdeviceptr pointer)
{
    ENTER(WORKING);
    for (unsigned i = 0; i < count; i++)
        if (pointer_attribute(data[i], attributes[i], pointer) == CUDA_ERROR_NOT_SUPPORTED)
            FAIL(CUDA_ERROR_NOT_SUPPORTED);
    return CUDA_SUCCESS;
}

// Stream-ordered allocation, from the one pool.
static int pool;

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *found, CUdevice device)
{
    ENTER(DRIVER);
    *found = (CUmemoryPool)&pool;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetMemPool(CUmemoryPool *found, CUdevice device)
{
    return cuDeviceGetDefaultMemPool(found, device);
}

CUresult cuMemPoolGetAttribute(CUmemoryPool from, CUmemPool_attribute attribute, void *value)
{
    ENTER(DRIVER);
    *(cuuint64_t *)value = attribute == CU_MEMPOOL_ATTR_USED_MEM_CURRENT ? used : 0;
    return CUDA_SUCCESS;
}

CUresult cuMemPoolSetAttribute(CUmemoryPool from, CUmemPool_attribute attribute, void *value)
{
    ENTER(DRIVER);
    return CUDA_SUCCESS;
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr *pointer, size_t bytes, CUmemoryPool from, CUstream stream)
{
    ENTER(WORKING);
    TRY(accepts(stream));
    TRY(allocate((void **)pointer, bytes, CU_MEMORYTYPE_DEVICE));
    NOTE("bytes=%zu", bytes);
    return CUDA_SUCCESS;
}

CUresult cuMemAllocAsync(CUdeviceptr *pointer, size_t bytes, CUstream stream)
{
    ENTER(WORKING);
    TRY(accepts(stream));
    TRY(allocate((void **)pointer, bytes, CU_MEMORYTYPE_DEVICE));
    NOTE("bytes=%zu", bytes);
    return CUDA_SUCCESS;
}

CUresult cuMemFreeAsync(CUdeviceptr pointer, CUstream stream)
{
    ENTER(WORKING);
    TRY(accepts(stream));
    TRY(forget((void *)pointer));
    NOTE("done=1");
    return CUDA_SUCCESS;
}

// ---- Copies and fills. Those without a stream belong to the legacy stream, and wait for it.

#define TRANSFER(name, declared, node_to, node_from, check)                                                            \
    CUresult name(declared, size_t bytes)                                                                              \
    {                                                                                                                  \
        ENTER(WAITING);                                                                                                \
        TRY(accepts(NULL));                                                                                            \
        TRY(unsafe_in_capture());                                                                                      \
        if (!(check))                                                                                                  \
            FAIL(CUDA_ERROR_INVALID_VALUE);                                                                            \
        perform(&(struct node){COPY, (void *)(node_to), (const void *)(node_from), bytes});                            \
        NOTE("bytes=%zu", bytes);                                                                                      \
        return CUDA_SUCCESS;                                                                                           \
    }
#define TRANSFER_ASYNC(name, declared, node_to, node_from, check)                                                      \
    CUresult name(declared, size_t bytes, CUstream stream)                                                             \
    {                                                                                                                  \
        ENTER(WORKING);                                                                                                \
        TRY(accepts(stream));                                                                                          \
        if (!(check))                                                                                                  \
            FAIL(CUDA_ERROR_INVALID_VALUE);                                                                            \
        submit(stream, (struct node){COPY, (void *)(node_to), (const void *)(node_from), bytes});                      \
        NOTE("bytes=%zu stream=%#zx captured=%d", bytes, (size_t)stream, captures(stream));                              \
        return CUDA_SUCCESS;                                                                                           \
    }
#define TO_DEVICE CUdeviceptr to, const void *from
#define TO_HOST void *to, CUdeviceptr from
#define WITHIN CUdeviceptr to, CUdeviceptr from
#define DEVICE(pointer) on_device((const void *)(pointer), bytes)

TRANSFER(cuMemcpyHtoD, TO_DEVICE, to, from, DEVICE(to))
TRANSFER(cuMemcpyDtoH, TO_HOST, to, from, DEVICE(from))
TRANSFER(cuMemcpyDtoD, WITHIN, to, from, DEVICE(to) && DEVICE(from))
TRANSFER(cuMemcpy, WITHIN, to, from, 1)
TRANSFER_ASYNC(cuMemcpyHtoDAsync, TO_DEVICE, to, from, DEVICE(to))
TRANSFER_ASYNC(cuMemcpyDtoHAsync, TO_HOST, to, from, DEVICE(from))
TRANSFER_ASYNC(cuMemcpyDtoDAsync, WITHIN, to, from, DEVICE(to) && DEVICE(from))
TRANSFER_ASYNC(cuMemcpyAsync, WITHIN, to, from, 1)

#define FILL(name, type)                                                                                               \
    CUresult name(CUdeviceptr to, type value, size_t count)                                                            \
    {                                                                                                                  \
        ENTER(WORKING);                                                                                                \
        TRY(accepts(NULL));                                                                                            \
        TRY(unsafe_in_capture());                                                                                      \
        if (!on_device((void *)to, count * sizeof value))                                                              \
            FAIL(CUDA_ERROR_INVALID_VALUE);                                                                            \
        perform(&(struct node){SET, (void *)to, NULL, count, value, sizeof value});                                    \
        NOTE("bytes=%zu", count * sizeof value);                                                                       \
        return CUDA_SUCCESS;                                                                                           \
    }
#define FILL_ASYNC(name, type)                                                                                         \
    CUresult name(CUdeviceptr to, type value, size_t count, CUstream stream)                                           \
    {                                                                                                                  \
        ENTER(WORKING);                                                                                                \
        TRY(accepts(stream));                                                                                          \
        if (!on_device((void *)to, count * sizeof value))                                                              \
            FAIL(CUDA_ERROR_INVALID_VALUE);                                                                            \
        submit(stream, (struct node){SET, (void *)to, NULL, count, value, sizeof value});                              \
        NOTE("bytes=%zu stream=%#zx captured=%d", count * sizeof value, (size_t)stream, captures(stream));               \
        return CUDA_SUCCESS;                                                                                           \
    }

FILL(cuMemsetD8, unsigned char)
FILL(cuMemsetD16, unsigned short)
FILL(cuMemsetD32, unsigned)
FILL_ASYNC(cuMemsetD8Async, unsigned char)
FILL_ASYNC(cuMemsetD16Async, unsigned short)
FILL_ASYNC(cuMemsetD32Async, unsigned)

// ---- Streams.

static void make_stream(const char *call, CUstream *handle, unsigned flags, int priority)
{
    struct stream *stream = calloc(1, sizeof *stream);
    *stream = (struct stream){.magic = STREAM, .flags = flags, .priority = priority, .next = streams};
    streams = stream;
    *handle = (CUstream)stream;
    note(call, "flags=%u stream=%#zx", flags, (size_t)stream);
}

CUresult cuStreamCreate(CUstream *handle, unsigned flags)
{
    ENTER(WORKING);
    make_stream(__func__, handle, flags, 0);
    return CUDA_SUCCESS;
}

CUresult cuStreamCreateWithPriority(CUstream *handle, unsigned flags, int priority)
{
    ENTER(WORKING);
    make_stream(__func__, handle, flags, priority);
    return CUDA_SUCCESS;
}

CUresult cuStreamDestroy(CUstream handle)
{
    ENTER(HEALTHY);
    if (!is(handle, STREAM))
        FAIL(CUDA_ERROR_INVALID_HANDLE);
    struct stream **link = &streams;
    while (*link != (struct stream *)handle)
        link = &(*link)->next;
    *link = (*link)->next;
    ((struct stream *)handle)->magic = DESTROYED;
    NOTE("stream=%#zx", (size_t)handle);
    return CUDA_SUCCESS;
}

static CUresult stream_waits(CUstream handle)
{
    if (own(handle) && !is(handle, STREAM))
        return CUDA_ERROR_INVALID_HANDLE;
    if (!captures(handle))
        return own(handle) ? CUDA_SUCCESS : accepts(handle);
    own(handle)->capture->invalid = 1;
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

CUresult cuStreamSynchronize(CUstream handle)
{
    ENTER(WAITING);
    TRY(stream_waits(handle));
    NOTE("stream=%#zx", (size_t)handle);
    return CUDA_SUCCESS;
}

CUresult cuStreamQuery(CUstream handle)
{
    ENTER(WAITING);
    TRY(stream_waits(handle));
    return CUDA_SUCCESS;
}

CUresult cuStreamGetFlags(CUstream handle, unsigned *flags)
{
    ENTER(WORKING);
    *flags = own(handle) ? own(handle)->flags : 0;
    return CUDA_SUCCESS;
}

CUresult cuStreamGetPriority(CUstream handle, int *priority)
{
    ENTER(WORKING);
    *priority = own(handle) ? own(handle)->priority : 0;
    return CUDA_SUCCESS;
}

CUresult cuStreamGetId(CUstream handle, unsigned long long *id)
{
    ENTER(WORKING);
    *id = (size_t)handle;
    return CUDA_SUCCESS;
}

CUresult cuStreamGetCtx(CUstream handle, CUcontext *context)
{
    ENTER(WORKING);
    *context = (CUcontext)&primary;
    return CUDA_SUCCESS;
}

CUresult cuStreamGetDevice(CUstream handle, CUdevice *device)
{
    ENTER(WORKING);
    *device = 0;
    return CUDA_SUCCESS;
}

// Host functions run at once: everything before them is done. The lock is not held, as they may call the driver.
CUresult cuStreamAddCallback(CUstream handle, CUstreamCallback callback, void *data, unsigned flags)
{
    callback(handle, CUDA_SUCCESS, data);
    return CUDA_SUCCESS;
}

CUresult cuLaunchHostFunc(CUstream handle, CUhostFn callback, void *data)
{
    callback(data);
    return CUDA_SUCCESS;
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode)
{
    CUstreamCaptureMode before = thread_mode;
    thread_mode = *mode;
    *mode = before;
    return CUDA_SUCCESS;
}

CUresult cuStreamBeginCapture(CUstream handle, CUstreamCaptureMode mode)
{
    ENTER(WORKING);
    struct stream *stream = own(handle);
    if (!stream)
        FAIL(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    if (!is(stream, STREAM))
        FAIL(CUDA_ERROR_INVALID_HANDLE);
    if (stream->capture)
        FAIL(CUDA_ERROR_ILLEGAL_STATE);
    stream->capture = calloc(1, sizeof *stream->capture);
    stream->capture->magic = GRAPH;
    stream->capture->mode = mode;
    stream->origin = 1;
    NOTE("stream=%#zx mode=%d", (size_t)stream, mode);
    return CUDA_SUCCESS;
}

CUresult cuStreamEndCapture(CUstream handle, CUgraph *result)
{
    ENTER(WORKING);
    struct stream *stream = own(handle);
    *result = NULL;
    if (!is(stream, STREAM))
        FAIL(CUDA_ERROR_INVALID_HANDLE);
    struct graph *graph = stream->capture;
    if (!graph)
        FAIL(CUDA_ERROR_ILLEGAL_STATE);
    if (!stream->origin)
        FAIL(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
    for (struct stream *joined = streams; joined; joined = joined->next)
        if (joined->capture == graph)
            joined->capture = NULL;
    stream->origin = 0;
    if (graph->invalid)
        FAIL(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    *result = (CUgraph)graph;
    NOTE("nodes=%d", graph->count);
    return CUDA_SUCCESS;
}

static CUstreamCaptureStatus capture_status(CUstream handle)
{
    return !captures(handle)                ? CU_STREAM_CAPTURE_STATUS_NONE
           : own(handle)->capture->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                            : CU_STREAM_CAPTURE_STATUS_ACTIVE;
}

CUresult cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus *status)
{
    ENTER(WORKING);
    *status = capture_status(handle);
    return CUDA_SUCCESS;
}

CUresult cuStreamGetCaptureInfo(CUstream handle, CUstreamCaptureStatus *status, cuuint64_t *id, CUgraph *graph,
                                const CUgraphNode **dependencies, const CUgraphEdgeData **edges, size_t *count)
{
    ENTER(WORKING);
    *status = capture_status(handle);
    if (id)
        *id = captures(handle) ? (cuuint64_t)own(handle)->capture : 0;
    if (graph)
        *graph = captures(handle) ? (CUgraph)own(handle)->capture : NULL;
    if (count)
        *count = 0;
    return CUDA_SUCCESS;
}

// ---- Events.

CUresult cuEventCreate(CUevent *handle, unsigned flags)
{
    ENTER(WORKING);
    struct event *event = calloc(1, sizeof *event);
    *event = (struct event){.magic = EVENT, .flags = flags};
    *handle = (CUevent)event;
    NOTE("flags=%u", flags);
    return CUDA_SUCCESS;
}

CUresult cuEventDestroy(CUevent handle)
{
    ENTER(HEALTHY);
    if (!is(handle, EVENT))
        FAIL(CUDA_ERROR_INVALID_HANDLE);
    ((struct event *)handle)->magic = DESTROYED;
    return CUDA_SUCCESS;
}

CUresult cuEventRecord(CUevent handle, CUstream stream)
{
    ENTER(WORKING);
    struct event *event = (struct event *)handle;
    if (!is(event, EVENT))
        FAIL(CUDA_ERROR_INVALID_HANDLE);
    TRY(accepts(stream));
    event->capture = captures(stream) ? own(stream)->capture : NULL;
    if (!event->capture) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        event->time = now.tv_sec * 1e3 + now.tv_nsec / 1e6;
        event->recorded = 1;
    }
    NOTE("stream=%#zx captured=%d", (size_t)stream, event->capture != NULL);
    return CUDA_SUCCESS;
}

CUresult cuEventRecordWithFlags(CUevent handle, CUstream stream, unsigned flags)
{
    return cuEventRecord(handle, stream);
}

CUresult cuEventSynchronize(CUevent handle)
{
    ENTER(WAITING);
    if (!is(handle, EVENT))
        FAIL(CUDA_ERROR_INVALID_HANDLE);
    if (((struct event *)handle)->capture)
        FAIL(CUDA_ERROR_CAPTURED_EVENT);
    NOTE("done=1");
    return CUDA_SUCCESS;
}

CUresult cuEventQuery(CUevent handle)
{
    ENTER(WAITING);
    if (!is(handle, EVENT))
        FAIL(CUDA_ERROR_INVALID_HANDLE);
    if (((struct event *)handle)->capture)
        FAIL(CUDA_ERROR_CAPTURED_EVENT);
    TRY(unsafe_in_capture());
    return CUDA_SUCCESS;
}

CUresult cuEventElapsedTime(float *milliseconds, CUevent from, CUevent to)
{
    ENTER(WAITING);
    struct event *first = (struct event *)from, *last = (struct event *)to;
    if (!is(first, EVENT) || !is(last, EVENT) || !first->recorded || !last->recorded ||
        ((first->flags | last->flags) & CU_EVENT_DISABLE_TIMING))
        FAIL(CUDA_ERROR_INVALID_HANDLE);
    double elapsed = last->time - first->time;
    *milliseconds = elapsed >= 0 && elapsed < 1e-3 ? 1e-3f : (float)elapsed; // the first instants are never nothing
    return CUDA_SUCCESS;
}

// To wait for an event of a capture is to join it.
CUresult cuStreamWaitEvent(CUstream stream, CUevent handle, unsigned flags)
{
    ENTER(WORKING);
    struct event *event = (struct event *)handle;
    if (!is(event, EVENT))
        FAIL(CUDA_ERROR_INVALID_HANDLE);
    TRY(accepts(stream));
    if (event->capture && own(stream))
        own(stream)->capture = event->capture;
    NOTE("stream=%#zx captured=%d", (size_t)stream, captures(stream));
    return CUDA_SUCCESS;
}

// ---- Libraries and kernels, read from the cubin that the real linker made.

static const Elf64_Shdr *section(const struct library *library, const char *prefix, const char *name)
{
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)library->image;
    const Elf64_Shdr *sections = (const Elf64_Shdr *)(library->image + header->e_shoff);
    const char *names = library->image + sections[header->e_shstrndx].sh_offset;
    for (int i = 0; i < header->e_shnum; i++) {
        const char *found = names + sections[i].sh_name;
        if (!strncmp(found, prefix, strlen(prefix)) && !strcmp(found + strlen(prefix), name))
            return &sections[i];
    }
    return NULL;
}

// The records of .nv.info, about all kernels, or of .nv.info.KERNEL: a format byte, a kind byte, then two bytes (a value,
// or the size of what follows).
static void read_info(struct kernel *kernel, const Elf64_Shdr *info, unsigned symbol)
{
    enum { PARAMETER = 0x17, PARAMETER_V2 = 0x45, FRAME = 0x11, REGISTER_COUNT = 0x2f, SIZED = 4 };
    const unsigned char *at = (unsigned char *)kernel->library->image + info->sh_offset, *end = at + info->sh_size;
    while (at + 4 <= end) {
        int kind = at[0] == SIZED ? at[1] : -1, size = at[0] == SIZED ? at[2] | at[3] << 8 : 0;
        unsigned words[3] = {0};
        memcpy(words, at + 4, size < 12 ? size : 12);
        if (kind == PARAMETER || kind == PARAMETER_V2) {
            int ordinal = words[1] & 0xffff;
            if (ordinal < (int)COUNT(kernel->sizes)) {
                kernel->sizes[ordinal] = words[2] >> 18;
                kernel->parameters = ordinal >= kernel->parameters ? ordinal + 1 : kernel->parameters;
            }
        } else if (kind == REGISTER_COUNT && words[0] == symbol) {
            kernel->registers = words[1];
        } else if (kind == FRAME && words[0] == symbol) {
            kernel->local = words[1];
        }
        at += 4 + size;
    }
}

CUresult cuLibraryLoadData(CUlibrary *handle, const void *code, CUjit_option *jit, void **jit_values, unsigned jit_count,
                           CUlibraryOption *options, void **values, unsigned count)
{
    ENTER(WORKING);
    TRY(unsafe_in_capture());
    const Elf64_Ehdr *header = code;
    if (memcmp(header->e_ident, ELFMAG, SELFMAG) || driver_version() < 13000)
        FAIL(CUDA_ERROR_INVALID_IMAGE);
    struct library *library = calloc(1, sizeof *library);
    library->magic = LIBRARY;
    // The tables of sections and of segments come last.
    size_t end = header->e_shoff + (size_t)header->e_shnum * header->e_shentsize;
    size_t segments = header->e_phoff + (size_t)header->e_phnum * header->e_phentsize;
    library->size = end > segments ? end : segments;
    library->image = malloc(library->size);
    memcpy(library->image, code, library->size);
    *handle = (CUlibrary)library;
    NOTE("bytes=%zu", library->size);
    return CUDA_SUCCESS;
}

CUresult cuLibraryUnload(CUlibrary handle)
{
    ENTER(HEALTHY);
    TRY(unsafe_in_capture());
    if (!is(handle, LIBRARY))
        FAIL(CUDA_ERROR_INVALID_HANDLE);
    struct library *library = (struct library *)handle;
    library->magic = DESTROYED;
    for (struct kernel *kernel = library->kernels; kernel; kernel = kernel->next)
        kernel->magic = DESTROYED;
    NOTE("done=1");
    return CUDA_SUCCESS;
}

CUresult cuLibraryGetKernel(CUkernel *handle, CUlibrary from, const char *name)
{
    ENTER(WORKING);
    if (!is(from, LIBRARY))
        FAIL(CUDA_ERROR_INVALID_HANDLE);
    struct library *library = (struct library *)from;
    struct kernel *kernel = library->kernels;
    while (kernel && strcmp(kernel->name, name))
        kernel = kernel->next;
    if (!kernel) {
        const Elf64_Shdr *text = section(library, ".text.", name);
        if (!text)
            FAIL(CUDA_ERROR_NOT_FOUND);
        const Elf64_Shdr *shared = section(library, ".nv.shared.", name), *infos[] = {
            section(library, ".nv.info", ""), section(library, ".nv.info.", name)};
        kernel = calloc(1, sizeof *kernel);
        kernel->magic = KERNEL;
        kernel->name = strdup(name);
        kernel->library = library;
        for (size_t i = 0; i < COUNT(infos); i++)
            if (infos[i])
                read_info(kernel, infos[i], text->sh_info & 0xffffff);
        // The section begins with what the system keeps for itself.
        kernel->shared = shared && shared->sh_size > SHARED_RESERVED ? shared->sh_size - SHARED_RESERVED : 0;
        kernel->dynamic = SHARED_DEFAULT - kernel->shared;
        kernel->carveout = -1;
        kernel->next = library->kernels;
        library->kernels = kernel;
    }
    *handle = (CUkernel)kernel;
    NOTE("kernel=%s", name);
    return CUDA_SUCCESS;
}

CUresult cuLibraryGetKernelCount(unsigned *count, CUlibrary from)
{
    ENTER(WORKING);
    *count = 0;
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)((struct library *)from)->image;
    const Elf64_Shdr *sections = (const Elf64_Shdr *)((const char *)header + header->e_shoff);
    const char *names = (const char *)header + sections[header->e_shstrndx].sh_offset;
    for (int i = 0; i < header->e_shnum; i++)
        *count += !strncmp(names + sections[i].sh_name, ".text.", 6);
    return CUDA_SUCCESS;
}

// A kernel and its function in the only context are one object here.
CUresult cuKernelGetFunction(CUfunction *function, CUkernel kernel)
{
    ENTER(WORKING);
    if (!is(kernel, KERNEL))
        FAIL(CUDA_ERROR_INVALID_HANDLE);
    *function = (CUfunction)kernel;
    return CUDA_SUCCESS;
}

// The older interface, over the same.
CUresult cuModuleLoadData(CUmodule *module, const void *code)
{
    return cuLibraryLoadData((CUlibrary *)module, code, NULL, NULL, 0, NULL, NULL, 0);
}

CUresult cuModuleLoadDataEx(CUmodule *module, const void *code, unsigned count, CUjit_option *options, void **values)
{
    return cuModuleLoadData(module, code);
}

CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name)
{
    return cuLibraryGetKernel((CUkernel *)function, (CUlibrary)module, name);
}

CUresult cuModuleUnload(CUmodule module)
{
    return cuLibraryUnload((CUlibrary)module);
}

CUresult cuKernelGetName(const char **name, CUkernel kernel)
{
    ENTER(WORKING);
    *name = ((struct kernel *)kernel)->name;
    return CUDA_SUCCESS;
}

CUresult cuKernelGetLibrary(CUlibrary *library, CUkernel kernel)
{
    ENTER(WORKING);
    *library = (CUlibrary)((struct kernel *)kernel)->library;
    return CUDA_SUCCESS;
}

CUresult cuKernelGetParamInfo(CUkernel handle, size_t index, size_t *offset, size_t *size)
{
    ENTER(WORKING);
    struct kernel *kernel = (struct kernel *)handle;
    if (index >= (size_t)kernel->parameters)
        return CUDA_ERROR_INVALID_VALUE; // how callers find out how many there are
    *offset = 0;
    for (size_t i = 0; i <= index; i++) {
        size_t width = kernel->sizes[i];
        size_t alignment = width >= 8 ? 8 : width ? width : 1;
        *offset = (*offset + alignment - 1) / alignment * alignment + (i < index ? width : 0);
    }
    if (size)
        *size = kernel->sizes[index];
    return CUDA_SUCCESS;
}

static int threads_limit(const struct kernel *kernel)
{
    int by_registers = REGISTERS / (kernel->registers ? kernel->registers : 1) / 32 * 32;
    return by_registers < 1024 ? by_registers : 1024;
}

static CUresult get_attribute(int *value, CUfunction_attribute attribute, const struct kernel *kernel)
{
    if (!is(kernel, KERNEL))
        return CUDA_ERROR_INVALID_HANDLE;
    switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
        *value = threads_limit(kernel);
        break;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
        *value = kernel->shared;
        break;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
        *value = kernel->local;
        break;
    case CU_FUNC_ATTRIBUTE_NUM_REGS:
        *value = kernel->registers;
        break;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
        *value = 90;
        break;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
        *value = kernel->dynamic;
        break;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
        *value = kernel->carveout;
        break;
    default:
        *value = 0;
    }
    return CUDA_SUCCESS;
}

static CUresult set_attribute(const char *call, CUfunction_attribute attribute, int value, struct kernel *kernel)
{
    if (!is(kernel, KERNEL))
        return CUDA_ERROR_INVALID_HANDLE;
    if (attribute == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) {
        if (value < 0 || value + kernel->shared > SHARED_OPT_IN)
            return CUDA_ERROR_INVALID_VALUE;
        kernel->dynamic = value;
    } else if (attribute == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT) {
        kernel->carveout = value;
    }
    note(call, "kernel=%s attribute=%d value=%d", kernel->name, attribute, value);
    return CUDA_SUCCESS;
}

CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction function)
{
    ENTER(WORKING);
    TRY(get_attribute(value, attribute, (struct kernel *)function));
    return CUDA_SUCCESS;
}

CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value)
{
    ENTER(WORKING);
    TRY(set_attribute(__func__, attribute, value, (struct kernel *)function));
    return CUDA_SUCCESS;
}

CUresult cuKernelGetAttribute(int *value, CUfunction_attribute attribute, CUkernel kernel, CUdevice device)
{
    ENTER(WORKING);
    TRY(get_attribute(value, attribute, (struct kernel *)kernel));
    return CUDA_SUCCESS;
}

CUresult cuKernelSetAttribute(CUfunction_attribute attribute, int value, CUkernel kernel, CUdevice device)
{
    ENTER(WORKING);
    TRY(set_attribute(__func__, attribute, value, (struct kernel *)kernel));
    return CUDA_SUCCESS;
}

CUresult cuKernelSetCacheConfig(CUkernel kernel, CUfunc_cache config, CUdevice device)
{
    ENTER(WORKING);
    return CUDA_SUCCESS;
}

// ---- Occupancy, with the register and shared memory counts of the real kernel.

static int resident_blocks(const struct kernel *kernel, int threads, size_t dynamic)
{
    int warps = (threads + 31) / 32;
    int blocks = THREADS_PER_MULTIPROCESSOR / 32 / (warps ? warps : 1);
    if (threads > threads_limit(kernel) || dynamic > (size_t)kernel->dynamic)
        return 0;
    // Registers come in units of 256 a warp.
    int registers = (kernel->registers * 32 + 255) / 256 * 256 * warps;
    if (registers && REGISTERS / registers < blocks)
        blocks = REGISTERS / registers;
    int shared = (int)dynamic + kernel->shared + SHARED_RESERVED;
    if (SHARED_PER_MULTIPROCESSOR / shared < blocks)
        blocks = SHARED_PER_MULTIPROCESSOR / shared;
    return blocks < 32 ? blocks : 32;
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction function, int threads, size_t dynamic)
{
    ENTER(WORKING);
    if (!is(function, KERNEL))
        FAIL(CUDA_ERROR_INVALID_HANDLE);
    *blocks = resident_blocks((struct kernel *)function, threads, dynamic);
    return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, CUfunction function, int threads,
                                                              size_t dynamic, unsigned flags)
{
    return cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks, function, threads, dynamic);
}

// ---- Launches.

static CUresult launch(const char *call, struct kernel *kernel, const unsigned grid[3], const unsigned block[3],
                       unsigned shared, CUstream stream, int cooperative, void **parameters)
{
    if (!is(kernel, KERNEL))
        return CUDA_ERROR_INVALID_HANDLE;
    CUresult code = accepts(stream);
    if (code != CUDA_SUCCESS)
        return code;
    size_t threads = (size_t)block[0] * block[1] * block[2], blocks = (size_t)grid[0] * grid[1] * grid[2];
    if (!threads || !blocks || threads > 1024 || block[2] > 64 || grid[0] > 2147483647u || grid[1] > 65535 ||
        grid[2] > 65535 || shared > (unsigned)kernel->dynamic)
        return CUDA_ERROR_INVALID_VALUE;
    if (threads > (size_t)threads_limit(kernel))
        return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
    if (cooperative && blocks > (size_t)MULTIPROCESSORS * resident_blocks(kernel, threads, shared))
        return CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE;

    // The arguments as unsigned integers of their sizes, as C writes hexadecimals.
    char *arguments = NULL;
    size_t length;
    FILE *text = open_memstream(&arguments, &length);
    for (int i = 0; i < kernel->parameters && parameters; i++) {
        unsigned long long value = 0;
        memcpy(&value, parameters[i], kernel->sizes[i] < 8 ? kernel->sizes[i] : 8);
        fprintf(text, "%s%#llx", i ? "," : "", value);
    }
    fclose(text);
    submit(stream, (struct node){.work = LAUNCH});
    note(call, "kernel=%s grid=%u,%u,%u block=%u,%u,%u shared=%u stream=%#zx cooperative=%d captured=%d args=%s",
         kernel->name, grid[0], grid[1], grid[2], block[0], block[1], block[2], shared, (size_t)stream, cooperative,
         captures(stream), arguments);
    free(arguments);
    return CUDA_SUCCESS;
}

CUresult cuLaunchKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                        unsigned bz, unsigned shared, CUstream stream, void **parameters, void **extra)
{
    ENTER(WORKING);
    const unsigned grid[] = {gx, gy, gz}, block[] = {bx, by, bz};
    TRY(launch(__func__, (struct kernel *)function, grid, block, shared, stream, 0, parameters));
    return CUDA_SUCCESS;
}

CUresult cuLaunchCooperativeKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                                   unsigned by, unsigned bz, unsigned shared, CUstream stream, void **parameters)
{
    ENTER(WORKING);
    const unsigned grid[] = {gx, gy, gz}, block[] = {bx, by, bz};
    TRY(launch(__func__, (struct kernel *)function, grid, block, shared, stream, 1, parameters));
    return CUDA_SUCCESS;
}

CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction function, void **parameters, void **extra)
{
    ENTER(WORKING);
    int cooperative = 0;
    for (unsigned i = 0; i < config->numAttrs; i++)
        if (config->attrs[i].id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE)
            cooperative = config->attrs[i].value.cooperative;
    const unsigned grid[] = {config->gridDimX, config->gridDimY, config->gridDimZ};
    const unsigned block[] = {config->blockDimX, config->blockDimY, config->blockDimZ};
    TRY(launch(__func__, (struct kernel *)function, grid, block, config->sharedMemBytes, config->hStream, cooperative,
               parameters));
    return CUDA_SUCCESS;
}

// ---- Graphs. An instantiated one is a copy.

static struct graph *copy_graph(const struct graph *from, enum magic magic)
{
    struct graph *graph = calloc(1, sizeof *graph);
    *graph = *from;
    graph->magic = magic;
    graph->nodes = calloc(from->count + 1, sizeof *graph->nodes);
    graph->capacity = from->count + 1;
    if (from->count)
        memcpy(graph->nodes, from->nodes, from->count * sizeof *graph->nodes);
    return graph;
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec *handle, CUgraph graph, unsigned long long flags)
{
    ENTER(WORKING);
    TRY(unsafe_in_capture());
    if (!is(graph, GRAPH))
        FAIL(CUDA_ERROR_INVALID_VALUE);
    *handle = (CUgraphExec)copy_graph((struct graph *)graph, EXEC);
    NOTE("graph=%#zx nodes=%d", (size_t)*handle, ((struct graph *)graph)->count);
    return CUDA_SUCCESS;
}

CUresult cuGraphInstantiateWithParams(CUgraphExec *handle, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS *parameters)
{
    ENTER(WORKING);
    TRY(unsafe_in_capture());
    if (!is(graph, GRAPH))
        FAIL(CUDA_ERROR_INVALID_VALUE);
    *handle = (CUgraphExec)copy_graph((struct graph *)graph, EXEC);
    parameters->result_out = CUDA_GRAPH_INSTANTIATE_SUCCESS;
    NOTE("graph=%#zx nodes=%d", (size_t)*handle, ((struct graph *)graph)->count);
    return CUDA_SUCCESS;
}

CUresult cuGraphUpload(CUgraphExec graph, CUstream stream)
{
    ENTER(WORKING);
    if (!is(graph, EXEC))
        FAIL(CUDA_ERROR_INVALID_VALUE);
    TRY(accepts(stream));
    NOTE("graph=%#zx", (size_t)graph);
    return CUDA_SUCCESS;
}

CUresult cuGraphLaunch(CUgraphExec handle, CUstream stream)
{
    ENTER(WORKING);
    struct graph *graph = (struct graph *)handle;
    if (!is(graph, EXEC))
        FAIL(CUDA_ERROR_INVALID_VALUE);
    TRY(accepts(stream));
    int launches = 0;
    for (int i = 0; i < graph->count; i++) {
        submit(stream, graph->nodes[i]);
        launches += graph->nodes[i].work == LAUNCH;
    }
    NOTE("graph=%#zx nodes=%d kernels=%d stream=%#zx captured=%d", (size_t)graph, graph->count, launches, (size_t)stream,
         captures(stream));
    return CUDA_SUCCESS;
}

CUresult cuGraphGetNodes(CUgraph handle, CUgraphNode *nodes, size_t *count)
{
    ENTER(WORKING);
    struct graph *graph = (struct graph *)handle;
    for (size_t i = 0; nodes && i < *count; i++)
        nodes[i] = i < (size_t)graph->count ? (CUgraphNode)&graph->nodes[i] : NULL;
    if (!nodes || *count > (size_t)graph->count)
        *count = graph->count;
    return CUDA_SUCCESS;
}

CUresult cuGraphNodeGetType(CUgraphNode node, CUgraphNodeType *type)
{
    ENTER(WORKING);
    static const CUgraphNodeType TYPES[] = {[LAUNCH] = CU_GRAPH_NODE_TYPE_KERNEL,
                                            [COPY] = CU_GRAPH_NODE_TYPE_MEMCPY,
                                            [SET] = CU_GRAPH_NODE_TYPE_MEMSET,
                                            [MARK] = CU_GRAPH_NODE_TYPE_EMPTY};
    *type = TYPES[((struct node *)node)->work];
    return CUDA_SUCCESS;
}

// What a graph keeps alive. Graphs are never freed here, so neither are the objects that one retains.
CUresult cuUserObjectCreate(CUuserObject *object, void *data, CUhostFn destroy, unsigned references, unsigned flags)
{
    *object = (CUuserObject)malloc(1);
    return CUDA_SUCCESS;
}

CUresult cuUserObjectRelease(CUuserObject object, unsigned references)
{
    return CUDA_SUCCESS;
}

CUresult cuGraphRetainUserObject(CUgraph graph, CUuserObject object, unsigned references, unsigned flags)
{
    return CUDA_SUCCESS;
}

CUresult cuGraphReleaseUserObject(CUgraph graph, CUuserObject object, unsigned references)
{
    return CUDA_SUCCESS;
}

CUresult cuGraphDestroy(CUgraph graph)
{
    ENTER(HEALTHY);
    if (!is(graph, GRAPH))
        FAIL(CUDA_ERROR_INVALID_VALUE);
    ((struct graph *)graph)->magic = DESTROYED;
    NOTE("done=1");
    return CUDA_SUCCESS;
}

CUresult cuGraphExecDestroy(CUgraphExec graph)
{
    ENTER(HEALTHY);
    if (!is(graph, EXEC))
        FAIL(CUDA_ERROR_INVALID_VALUE);
    ((struct graph *)graph)->magic = DESTROYED;
    NOTE("graph=%#zx", (size_t)graph);
    return CUDA_SUCCESS;
}
