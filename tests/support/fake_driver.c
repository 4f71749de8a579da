// A fake CUDA driver for tests without a GPU: the functions of libcuda.so.1 that numba-cuda, cuda.core and cuda.bindings
// call. Device memory is host memory, so copies are real; kernel launches are checked and logged but compute nothing.
// Stream capture, graphs, events, errors and limits follow the rules of the real driver where a program could break
// them. Built by support/fake_driver.py and controlled by environment variables:
//
//   FAKE_CUDA_LOG             a log file with one line per call: "cuMemAlloc bytes=4096", or "cuMemAlloc error=2"
//   FAKE_CUDA_DEVICES         0 if the driver finds no device, otherwise 1
//   FAKE_CUDA_DRIVER_VERSION  the result of cuDriverGetVersion, 13000 by default; below that CUDA 13's functions and
//                             images are unknown
//   FAKE_CUDA_MEMORY          the device's memory in bytes
//   FAKE_CUDA_FAIL            rules "call:code[:nth[:later]]", separated by commas. The call is a glob ("cuLaunch*"); without
//                             nth each such call fails. With later the call itself succeeds, and the next one that
//                             waits for the device has the error, as when a kernel fails. The code -1 stands
//                             for a call, or with later a kernel, that never returns, not even on SIGTERM.
//
// Functions that the tests do not use are not implemented; cuda.bindings reports the name of a missing one. Attributes
// that are not implemented are reported as unsupported.
#define _GNU_SOURCE
#include <cuda.h>
#include <dlfcn.h>
#include <elf.h>
#include <fnmatch.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

// The simulated H200.
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
    {CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, MULTIPROCESSORS},
    {CU_DEVICE_ATTRIBUTE_KERNEL_EXEC_TIMEOUT, 0},
    {CU_DEVICE_ATTRIBUTE_PCI_BUS_ID, 23},
    {CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID, 0},
    {CU_DEVICE_ATTRIBUTE_TCC_DRIVER, 0},
    {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 9},
    {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0},
    {CU_DEVICE_ATTRIBUTE_SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO, 2},
    {CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH, 1},
    {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, SHARED_OPT_IN},
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
    ERROR(CUDA_ERROR_DEVICE_UNAVAILABLE, "CUDA-capable device(s) is/are busy or unavailable"),
    ERROR(CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected"),
    ERROR(CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal"),
    ERROR(CUDA_ERROR_INVALID_IMAGE, "device kernel image is invalid"),
    ERROR(CUDA_ERROR_INVALID_CONTEXT, "invalid device context"),
    ERROR(CUDA_ERROR_ECC_UNCORRECTABLE, "uncorrectable ECC error encountered"),
    ERROR(CUDA_ERROR_INVALID_HANDLE, "invalid resource handle"),
    ERROR(CUDA_ERROR_ILLEGAL_STATE, "the operation cannot be performed in the present state"),
    ERROR(CUDA_ERROR_NOT_FOUND, "named symbol not found"),
    ERROR(CUDA_ERROR_ILLEGAL_ADDRESS, "an illegal memory access was encountered"),
    ERROR(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "too many resources requested for launch"),
    ERROR(CUDA_ERROR_LAUNCH_TIMEOUT, "the launch timed out and was terminated"),
    ERROR(CUDA_ERROR_LAUNCH_FAILED, "unspecified launch failure"),
    ERROR(CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE, "too many blocks in cooperative launch"),
    ERROR(CUDA_ERROR_NOT_SUPPORTED, "operation not supported"),
    ERROR(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "operation not permitted when stream is capturing"),
    ERROR(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "operation failed due to a previous error during capture"),
    ERROR(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "capture was not initiated in this stream"),
    ERROR(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, "operation would make the legacy stream depend on a capturing blocking stream"),
    ERROR(CUDA_ERROR_CAPTURED_EVENT, "operation not permitted on an event last recorded in a capturing stream"),
    ERROR(CUDA_ERROR_UNKNOWN, "unknown error"),
};

// ---- Objects behind the handles. They are never freed, so that use after destruction is detected.

enum magic { DESTROYED = 1, CONTEXT = 0xC0DA, STREAM, EVENT, LIBRARY, KERNEL, GRAPH, EXEC };

struct object {
    enum magic magic;
};

struct context {
    enum magic magic;
    int retained;
};

enum work { LAUNCH, COPY };

struct node {
    enum work work;
    void *to;
    const void *from;
    size_t bytes;
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
    struct graph *capture; // the graph being captured, or NULL
    int origin;            // whether it began the capture; others join through an event
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
    struct kernel *kernels;
};

struct kernel {
    enum magic magic;
    char *name;
    struct library *library;
    int registers, shared, local, parameters, dynamic;
    int sizes[512];
    struct kernel *next;
};

struct memory {
    char *start;
    size_t bytes;
    int kind; // CU_MEMORYTYPE_DEVICE or CU_MEMORYTYPE_HOST
    struct memory *next;
};

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
static CUresult broken;  // a persistent error: all later calls fail
static CUresult pending; // an asynchronous error, reported at the next synchronisation; NEVER: a kernel that never ends
static struct rule *rules;
static int rule_count = -1; // not read yet
static __thread struct context *stack[64];
static __thread int depth;

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

enum { NEVER = -1 };

static void never_return(const char *function)
{
    signal(SIGTERM, SIG_IGN);
    note(function, "never=1");
    for (;;)
        pause();
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
        if (rule->code == NEVER)
            never_return(function);
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

static CUresult wait_for_device(const char *function)
{
    CUresult found = pending;
    if ((int)found == NEVER)
        never_return(function);
    pending = CUDA_SUCCESS;
    if (sticky(found))
        broken = found;
    return found;
}

// Requirements of a call: cuInit was called, no error has broken the context, this thread has a context. A call that
// waits for the device has all of these requirements.
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
        code = wait_for_device(function);
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

// Calls that the driver refuses while any stream captures, unless that capture is relaxed, because they could wait for
// work that is only recorded. They also invalidate the capture.
static CUresult unsafe_in_capture(void)
{
    CUresult code = CUDA_SUCCESS;
    for (struct stream *stream = streams; stream; stream = stream->next)
        if (stream->capture && stream->capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED) {
            stream->capture->invalid = 1;
            code = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        }
    return code;
}

// Whether the stream accepts work: the legacy stream waits for blocking streams, so it does not while one captures.
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

// ---- Function lookup, versions, errors.

static int driver_version(void)
{
    return steer("FAKE_CUDA_DRIVER_VERSION", 13000);
}

CUresult cuGetProcAddress(const char *symbol, void **function, int version, cuuint64_t flags,
                          CUdriverProcAddressQueryResult *status)
{
    // The newest variant that is implemented here.
    static const char *const SUFFIXES[] = {"_v2", ""};
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

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device)
{
    ENTER(DRIVER);
    if (device)
        FAIL(CUDA_ERROR_INVALID_DEVICE);
    for (size_t i = 0; i < COUNT(ATTRIBUTES); i++)
        if (ATTRIBUTES[i].attribute == attribute) {
            *value = ATTRIBUTES[i].value;
            return CUDA_SUCCESS;
        }
    FAIL(CUDA_ERROR_NOT_SUPPORTED);
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

CUresult cuCtxSynchronize(void)
{
    ENTER(WAITING);
    TRY(unsafe_in_capture());
    NOTE("done=1");
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

// Kernels and copies on the device can access the whole allocation.
static int on_device(const void *pointer, size_t bytes)
{
    struct memory *memory = memory_at(pointer);
    return !bytes || (memory && (char *)pointer + bytes <= memory->start + memory->bytes);
}

static CUresult allocate(void **pointer, size_t bytes, int kind)
{
    size_t total = steer("FAKE_CUDA_MEMORY", MEMORY);
    int counts = kind == CU_MEMORYTYPE_DEVICE;
    if (!bytes)
        return CUDA_ERROR_INVALID_VALUE;
    if (counts && (bytes > total || used > total - bytes))
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (posix_memalign(pointer, 512, bytes))
        return CUDA_ERROR_OUT_OF_MEMORY;
    // New memory is never zero here, so that no code relies on zeros.
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
        if (memory->kind == CU_MEMORYTYPE_DEVICE)
            used -= memory->bytes;
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

CUresult cuMemHostAlloc(void **pointer, size_t bytes, unsigned flags)
{
    ENTER(WORKING);
    TRY(unsafe_in_capture());
    TRY(allocate(pointer, bytes, CU_MEMORYTYPE_HOST));
    NOTE("bytes=%zu flags=%u", bytes, flags);
    return CUDA_SUCCESS;
}

CUresult cuMemFreeHost(void *pointer)
{
    ENTER(HEALTHY);
    TRY(unsafe_in_capture());
    TRY(forget(pointer));
    NOTE("done=1");
    return CUDA_SUCCESS;
}

CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr pointer)
{
    ENTER(WORKING);
    if (attribute != CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL)
        FAIL(CUDA_ERROR_NOT_SUPPORTED);
    if (!memory_at((void *)pointer))
        FAIL(CUDA_ERROR_INVALID_VALUE);
    *(int *)data = 0;
    return CUDA_SUCCESS;
}

// ---- Copies. Those without a stream belong to the legacy stream, and wait for it.

#define TRANSFER(name, declared, check)                                                                                \
    CUresult name(declared, size_t bytes)                                                                              \
    {                                                                                                                  \
        ENTER(WAITING);                                                                                                \
        TRY(accepts(NULL));                                                                                            \
        TRY(unsafe_in_capture());                                                                                      \
        if (!(check))                                                                                                  \
            FAIL(CUDA_ERROR_INVALID_VALUE);                                                                            \
        perform(&(struct node){COPY, (void *)to, (const void *)from, bytes});                                          \
        NOTE("bytes=%zu", bytes);                                                                                      \
        return CUDA_SUCCESS;                                                                                           \
    }
#define TRANSFER_ASYNC(name, declared, check)                                                                          \
    CUresult name(declared, size_t bytes, CUstream stream)                                                             \
    {                                                                                                                  \
        ENTER(WORKING);                                                                                                \
        TRY(accepts(stream));                                                                                          \
        if (!(check))                                                                                                  \
            FAIL(CUDA_ERROR_INVALID_VALUE);                                                                            \
        submit(stream, (struct node){COPY, (void *)to, (const void *)from, bytes});                                    \
        NOTE("bytes=%zu stream=%#zx captured=%d", bytes, (size_t)stream, captures(stream));                            \
        return CUDA_SUCCESS;                                                                                           \
    }
#define TO_DEVICE CUdeviceptr to, const void *from
#define TO_HOST void *to, CUdeviceptr from
#define WITHIN CUdeviceptr to, CUdeviceptr from
#define DEVICE(pointer) on_device((const void *)(pointer), bytes)

TRANSFER(cuMemcpyHtoD, TO_DEVICE, DEVICE(to))
TRANSFER(cuMemcpyDtoH, TO_HOST, DEVICE(from))
TRANSFER_ASYNC(cuMemcpyHtoDAsync, TO_DEVICE, DEVICE(to))
TRANSFER_ASYNC(cuMemcpyDtoHAsync, TO_HOST, DEVICE(from))
TRANSFER_ASYNC(cuMemcpyDtoDAsync, WITHIN, DEVICE(to) && DEVICE(from))

// ---- Streams.

CUresult cuStreamCreate(CUstream *handle, unsigned flags)
{
    ENTER(WORKING);
    struct stream *stream = calloc(1, sizeof *stream);
    *stream = (struct stream){.magic = STREAM, .flags = flags, .next = streams};
    streams = stream;
    *handle = (CUstream)stream;
    NOTE("flags=%u stream=%#zx", flags, (size_t)stream);
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

CUresult cuStreamSynchronize(CUstream handle)
{
    ENTER(WAITING);
    if (own(handle) && !is(handle, STREAM))
        FAIL(CUDA_ERROR_INVALID_HANDLE);
    if (captures(handle)) {
        own(handle)->capture->invalid = 1;
        FAIL(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    }
    if (!own(handle))
        TRY(accepts(handle));
    NOTE("stream=%#zx", (size_t)handle);
    return CUDA_SUCCESS;
}

CUresult cuStreamGetCtx(CUstream handle, CUcontext *context)
{
    ENTER(WORKING);
    *context = (CUcontext)&primary;
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
    *milliseconds = elapsed >= 0 && elapsed < 1e-3 ? 1e-3f : (float)elapsed; // a real event never takes exactly 0 ms
    return CUDA_SUCCESS;
}

// Waiting for an event of a capture joins the capture.
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

// ---- Libraries and kernels, read from the cubin that the real linker produced.

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
    // The tables of sections and of segments are at the end.
    size_t end = header->e_shoff + (size_t)header->e_shnum * header->e_shentsize;
    size_t segments = header->e_phoff + (size_t)header->e_phnum * header->e_phentsize;
    size_t bytes = end > segments ? end : segments;
    library->image = malloc(bytes);
    memcpy(library->image, code, bytes);
    *handle = (CUlibrary)library;
    NOTE("bytes=%zu", bytes);
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
        // The section begins with a part that is reserved for the system.
        kernel->shared = shared && shared->sh_size > SHARED_RESERVED ? shared->sh_size - SHARED_RESERVED : 0;
        kernel->dynamic = SHARED_DEFAULT - kernel->shared;
        kernel->next = library->kernels;
        library->kernels = kernel;
    }
    *handle = (CUkernel)kernel;
    NOTE("kernel=%s", name);
    return CUDA_SUCCESS;
}

CUresult cuKernelGetParamInfo(CUkernel handle, size_t index, size_t *offset, size_t *size)
{
    ENTER(WORKING);
    struct kernel *kernel = (struct kernel *)handle;
    if (index >= (size_t)kernel->parameters)
        return CUDA_ERROR_INVALID_VALUE; // callers use this error to find the number of parameters
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

CUresult cuKernelGetAttribute(int *value, CUfunction_attribute attribute, CUkernel handle, CUdevice device)
{
    ENTER(WORKING);
    struct kernel *kernel = (struct kernel *)handle;
    if (!is(kernel, KERNEL))
        FAIL(CUDA_ERROR_INVALID_HANDLE);
    switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
        *value = threads_limit(kernel);
        break;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
        *value = kernel->shared;
        break;
    case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
        *value = 0;
        break;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
        *value = kernel->local;
        break;
    case CU_FUNC_ATTRIBUTE_NUM_REGS:
        *value = kernel->registers;
        break;
    default:
        FAIL(CUDA_ERROR_NOT_SUPPORTED);
    }
    return CUDA_SUCCESS;
}

CUresult cuKernelSetAttribute(CUfunction_attribute attribute, int value, CUkernel handle, CUdevice device)
{
    ENTER(WORKING);
    struct kernel *kernel = (struct kernel *)handle;
    if (!is(kernel, KERNEL))
        FAIL(CUDA_ERROR_INVALID_HANDLE);
    if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)
        FAIL(CUDA_ERROR_NOT_SUPPORTED);
    if (value < 0 || value + kernel->shared > SHARED_OPT_IN)
        FAIL(CUDA_ERROR_INVALID_VALUE);
    kernel->dynamic = value;
    NOTE("kernel=%s attribute=%d value=%d", kernel->name, attribute, value);
    return CUDA_SUCCESS;
}

// ---- Occupancy, with the register and shared memory counts of the real kernel.

static int resident_blocks(const struct kernel *kernel, int threads, size_t dynamic)
{
    int warps = (threads + 31) / 32;
    int blocks = THREADS_PER_MULTIPROCESSOR / 32 / (warps ? warps : 1);
    if (threads > threads_limit(kernel) || dynamic > (size_t)kernel->dynamic)
        return 0;
    // Registers are allocated in units of 256 per warp.
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

    // The arguments as unsigned integers of their sizes, in the hexadecimal notation of C.
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

// ---- Graphs. An instantiated graph is a copy; the nodes no longer change and are shared.

CUresult cuGraphInstantiateWithFlags(CUgraphExec *handle, CUgraph from, unsigned long long flags)
{
    ENTER(WORKING);
    TRY(unsafe_in_capture());
    if (!is(from, GRAPH))
        FAIL(CUDA_ERROR_INVALID_VALUE);
    struct graph *graph = calloc(1, sizeof *graph);
    *graph = *(struct graph *)from;
    graph->magic = EXEC;
    *handle = (CUgraphExec)graph;
    NOTE("graph=%#zx nodes=%d", (size_t)graph, graph->count);
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
