# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The engine compiled ahead of time: _engine.pxi holds its sources and the rules, typed by tools/; here are its entry points."""

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer
from cython cimport floating
from libc.math cimport INFINITY, log as c_log, logf, pow as c_pow, powf, rint, rintf, sqrt as c_sqrt, sqrtf
from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.string cimport memcpy

from ctypes import addressof

import numpy as np

from fastmlp.kernels.spec import aligned_zeros, wrong_row

cdef extern from "primitives.h" nogil:
    int VECTOR_BYTES
    int TILE_ROWS
    bint has_x86_64_v3()
    bint has_x86_64_v4()
    void give_way()
    int64_t flush_denormals()
    void restore_denormals(int64_t)
    int64_t arrive(int64_t*)
    int64_t arrivals(int64_t*)
    int64_t random_key(int64_t, int64_t, int64_t)
    void drop_float(float*, Py_ssize_t, int64_t, int64_t, double)
    void drop_double(double*, Py_ssize_t, int64_t, int64_t, double)
    void fill_normal_float(float*, Py_ssize_t, int64_t, int64_t)
    void fill_normal_double(double*, Py_ssize_t, int64_t, int64_t)
    float power_of_two_float(float)
    double power_of_two_double(double)
    float reciprocal_estimate_float(float)
    double reciprocal_estimate_double(double)
    void tile_float(Py_ssize_t, Py_ssize_t, float*, int64_t*, int64_t*, float*, Py_ssize_t, Py_ssize_t, float*, Py_ssize_t, float*, Py_ssize_t)
    void tile_double(Py_ssize_t, Py_ssize_t, double*, int64_t*, int64_t*, double*, Py_ssize_t, Py_ssize_t, double*, Py_ssize_t, double*, Py_ssize_t)
    void transpose_square_float(float*, Py_ssize_t, float*, Py_ssize_t)
    void transpose_square_double(double*, Py_ssize_t, double*, Py_ssize_t)
    float largest_float(float*, Py_ssize_t)
    double largest_double(double*, Py_ssize_t)
    float sum_of_float(float*, Py_ssize_t)
    double sum_of_double(double*, Py_ssize_t)
    void combine_float(float*, Py_ssize_t, float*, Py_ssize_t, float*)
    void combine_double(double*, Py_ssize_t, double*, Py_ssize_t, double*)
    void outer_float(float*, Py_ssize_t, float*, Py_ssize_t, float*)
    void outer_double(double*, Py_ssize_t, double*, Py_ssize_t, double*)
    float dot_float(float*, float*, Py_ssize_t)
    double dot_double(double*, double*, Py_ssize_t)
    double sum_of_squares_float(float*, Py_ssize_t)
    double sum_of_squares_double(double*, Py_ssize_t)

cdef extern from "bfloat16_tiles.h" nogil:
    int MULTIPLIES_TILES
    void pack_row_float(float*, float*, Py_ssize_t, float*)
    float lower_term_float(float)
    void open_tiles(Py_ssize_t, int64_t*)
    void close_tiles(Py_ssize_t, int64_t*)
    void amx_tiles_float(Py_ssize_t, Py_ssize_t, Py_ssize_t, float*, float*, Py_ssize_t, Py_ssize_t, float*, float*, Py_ssize_t)
    void bfloat16_tile_float(Py_ssize_t, float*, float*, Py_ssize_t, float*, float*, Py_ssize_t)


# The primitives and the mathematics of the package rules, in the precision of their argument.
cdef inline bint is_single(floating z) noexcept nogil:
    return floating is float

cdef inline Py_ssize_t lanes(floating* pointer) noexcept nogil:
    return VECTOR_BYTES // sizeof(floating)

cdef inline Py_ssize_t tile_rows() noexcept nogil:
    return TILE_ROWS

cdef inline void copy(floating* source, Py_ssize_t n, floating* out) noexcept nogil:
    memcpy(out, source, n * sizeof(floating))

cdef inline floating round_to_integer(floating z) noexcept nogil:
    return rintf(z) if floating is float else rint(z)

cdef inline floating power_of_two(floating n) noexcept nogil:
    return power_of_two_float(n) if floating is float else power_of_two_double(n)

cdef inline floating reciprocal_estimate(floating z) noexcept nogil:
    return reciprocal_estimate_float(z) if floating is float else reciprocal_estimate_double(z)

cdef inline floating _log(floating z) noexcept nogil:
    return logf(z) if floating is float else c_log(z)

cdef inline floating _pow(floating base, floating exponent) noexcept nogil:
    return powf(base, exponent) if floating is float else c_pow(base, exponent)

cdef inline floating _sqrt(floating z) noexcept nogil:
    return sqrtf(z) if floating is float else c_sqrt(z)

ctypedef uint32_t (*generator_function)(void*) noexcept nogil

cdef inline int64_t random_integer(Py_ssize_t draw, Py_ssize_t generator) noexcept nogil:
    return (<generator_function><void*>draw)(<void*>generator)

cdef inline void drop(floating* row, Py_ssize_t n, int64_t key, int64_t first, double rate) noexcept nogil:
    if floating is float:
        drop_float(row, n, key, first, rate)
    else:
        drop_double(row, n, key, first, rate)

cdef inline void fill_normal(floating* row, Py_ssize_t n, int64_t key, int64_t first) noexcept nogil:
    if floating is float:
        fill_normal_float(row, n, key, first)
    else:
        fill_normal_double(row, n, key, first)

cdef inline floating largest(floating* row, Py_ssize_t n) noexcept nogil:
    if floating is float:
        return largest_float(row, n)
    else:
        return largest_double(row, n)

cdef inline floating sum_of(floating* row, Py_ssize_t n) noexcept nogil:
    if floating is float:
        return sum_of_float(row, n)
    else:
        return sum_of_double(row, n)

cdef inline floating dot(floating* a, floating* b, Py_ssize_t n) noexcept nogil:
    if floating is float:
        return dot_float(a, b, n)
    else:
        return dot_double(a, b, n)

cdef inline void combine(floating* rows, Py_ssize_t stride, floating* coefficients, Py_ssize_t n, floating* out) noexcept nogil:
    if floating is float:
        combine_float(rows, stride, coefficients, n, out)
    else:
        combine_double(rows, stride, coefficients, n, out)

cdef inline void outer(floating* column, Py_ssize_t n, floating* row, Py_ssize_t stride, floating* out) noexcept nogil:
    if floating is float:
        outer_float(column, n, row, stride, out)
    else:
        outer_double(column, n, row, stride, out)

cdef inline double sum_of_squares(floating* pointer, Py_ssize_t n) noexcept nogil:
    if floating is float:
        return sum_of_squares_float(pointer, n)
    else:
        return sum_of_squares_double(pointer, n)

cdef inline void transpose_square(floating* source, Py_ssize_t stride, floating* out, Py_ssize_t out_stride) noexcept nogil:
    if floating is float:
        transpose_square_float(source, stride, out, out_stride)
    else:
        transpose_square_double(source, stride, out, out_stride)

cdef inline void tile(Py_ssize_t n_vectors, Py_ssize_t kind, floating* a, int64_t* rows, int64_t* ahead,
                      floating* b, Py_ssize_t b_stride,
                      Py_ssize_t inner, floating* start, Py_ssize_t start_stride, floating* out,
                      Py_ssize_t out_stride) noexcept nogil:
    if floating is float:
        tile_float(n_vectors, kind, a, rows, ahead, b, b_stride, inner, start, start_stride, out, out_stride)
    else:
        tile_double(n_vectors, kind, a, rows, ahead, b, b_stride, inner, start, start_stride, out, out_stride)

# Words of bfloat16 are never made of float64.
cdef inline void pack_row(floating* x, floating* y, Py_ssize_t n_terms, floating* to) noexcept nogil:
    if floating is float:
        pack_row_float(x, y, n_terms, to)

cdef inline floating lower_term(floating x) noexcept nogil:
    return lower_term_float(x) if floating is float else x

cdef inline void amx_tiles(Py_ssize_t n_terms, Py_ssize_t n_left, Py_ssize_t n_right, floating* a, floating* b,
                           Py_ssize_t step, Py_ssize_t n_tiles, floating* start, floating* out,
                           Py_ssize_t stride) noexcept nogil:
    if floating is float:
        amx_tiles_float(n_terms, n_left, n_right, a, b, step, n_tiles, start, out, stride)

cdef inline void bfloat16_tile(Py_ssize_t n_terms, floating* a, floating* b, Py_ssize_t n_tiles, floating* start,
                               floating* out, Py_ssize_t stride) noexcept nogil:
    if floating is float:
        bfloat16_tile_float(n_terms, a, b, n_tiles, start, out, stride)


# The loops around rules, called by their addresses: generated ones, and those that Numba compiles around custom rules
# (numba/rule_loops.py).
ctypedef double (*activation_loop)(void*, int64_t, int64_t, int64_t) noexcept nogil
ctypedef double (*trainable_loop)(void*, void*, int64_t, void*, void*, int64_t) noexcept nogil
ctypedef double (*derivative_loop)(void*, void*, int64_t, int64_t, int64_t) noexcept nogil
ctypedef double (*loss_loop_float)(float*, float*, float, float*, int64_t, double*) noexcept nogil
ctypedef double (*loss_loop_double)(double*, double*, double, double*, int64_t, double*) noexcept nogil
ctypedef double (*update_loop)(void*, void*, void*, int64_t, int64_t, double, double*) noexcept nogil
ctypedef double (*rate_loop)(double, double, double*) noexcept nogil

cdef inline void activate(Py_ssize_t code, floating* z, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t stride) noexcept nogil:
    (<activation_loop><void*>code)(z, rows, columns, stride)

cdef inline void activate_trainable(Py_ssize_t code, floating* z, floating* own, Py_ssize_t step, floating* derivative, floating* slope_derivative, Py_ssize_t n) noexcept nogil:
    (<trainable_loop><void*>code)(z, own, step, derivative, slope_derivative, n)

cdef inline void derive(Py_ssize_t code, floating* a, floating* delta, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t stride) noexcept nogil:
    (<derivative_loop><void*>code)(a, delta, rows, columns, stride)

cdef inline double weighted_loss(Py_ssize_t code, floating* p, floating* t, floating w, floating* delta, Py_ssize_t n, double* options) noexcept nogil:
    if floating is float:
        return (<loss_loop_float><void*>code)(p, t, w, delta, n, options)
    else:
        return (<loss_loop_double><void*>code)(p, t, w, delta, n, options)

cdef inline void apply_update(Py_ssize_t code, floating* w, floating* g, floating* slots, Py_ssize_t stride, Py_ssize_t n, double rate, double* options) noexcept nogil:
    (<update_loop><void*>code)(w, g, slots, stride, n, rate, options)

cdef inline double step_rate(Py_ssize_t code, double learning_rate, double step, double* options) noexcept nogil:
    return learning_rate if code == 0 else (<rate_loop><void*>code)(learning_rate, step, options)


include "_engine.pxi"


vector_bytes, tile_height, multiplies_tiles = VECTOR_BYTES, TILE_ROWS, bool(MULTIPLIES_TILES)


def processor_has(level):
    """Whether the engine compiled for that level of the x86-64 instruction set runs on this processor."""
    return {"x86_64_v3": has_x86_64_v3(), "x86_64_v4": has_x86_64_v4()}[level]


def bind_parameters(
    size_t run, floating[::1] parameters, floating[::1] gradient, floating[:, ::1] slots, double[::1] results
):
    """Store the addresses of the arrays that training changes in a Run, whose layout is the same for both dtypes."""
    cdef Run_float* to = <Run_float*>run
    to.parameters, to.gradient, to.slots = <float*>&parameters[0], <float*>&gradient[0], <float*>&slots[0, 0]
    to.n_slots, to.results = slots.shape[0], &results[0]


def bind_samples(
    size_t run, const floating[:, ::1] X, const floating[:, ::1] y, const int64_t[::1] order,
    const floating[::1] sample_weight, const double[::1] rates, bint scheduled, Py_ssize_t step, totals,
):
    """The same for the arguments of a call, with ``totals`` to which its losses and penalties are added."""
    cdef Run_float* to = <Run_float*>run
    to.X, to.y, to.sample_weight = <float*>&X[0, 0], <float*>&y[0, 0], <float*>&sample_weight[0]
    to.order, to.n_rows, to.n_weights = <int64_t*>&order[0], order.shape[0], sample_weight.shape[0] // y.shape[0]
    to.rates, to.scheduled, to.step = <double*>&rates[0], scheduled, step
    to.results[0], to.results[1] = totals
    to.results[2] = 0


def bind_prediction(
    size_t run, const floating[:, ::1] X, const floating[::1] parameters, floating[:, ::1] out, double[::1] input_sums
):
    """The same for a prediction."""
    cdef Run_float* to = <Run_float*>run
    to.X, to.n_rows, to.parameters = <float*>&X[0, 0], out.shape[0], <float*>&parameters[0]
    to.out, to.input_sums = <float*>&out[0, 0], &input_sums[0]


def bind_sparse(size_t run, const floating[::1] values, const int32_t[::1] indices, const int64_t[::1] row_starts):
    """The same for sparse rows, in place of X."""
    cdef Run_float* to = <Run_float*>run
    to.values, to.indices, to.row_starts = <float*>&values[0], <int32_t*>&indices[0], <int64_t*>&row_starts[0]


def bind_forward(
    size_t run, const floating[:, ::1] X, const floating[::1] parameters, floating[:, ::1] out, Py_ssize_t step
):
    """The same for a forward pass."""
    cdef Run_float* to = <Run_float*>run
    to.X, to.n_rows, to.parameters = <float*>&X[0, 0], X.shape[0], <float*>&parameters[0]
    to.out, to.step = <float*>&out[0, 0], step


def bind_backward(
    size_t run, const floating[:, ::1] output_gradient, floating[::1] gradient, floating[:, ::1] input_gradient
):
    """The same for the backward pass after it."""
    cdef Run_float* to = <Run_float*>run
    to.given, to.gradient = <float*>&output_gradient[0, 0], <float*>&gradient[0]
    to.out, to.of_inputs = <float*>&input_gradient[0, 0], input_gradient.shape[0] > 0


def bind_gradient(
    size_t run, const floating[::1] gradients, Py_ssize_t n_gradients, Py_ssize_t stride, const double[::1] rates,
    Py_ssize_t step, Py_ssize_t part, Py_ssize_t n_parts,
):
    """The same for a part of a step from the sum of gradients."""
    cdef Run_float* to = <Run_float*>run
    to.given, to.n_given, to.given_stride = <float*>&gradients[0], n_gradients, stride
    to.rates, to.step, to.part, to.n_parts = <double*>&rates[0], step, part, n_parts


def bind_jacobian(
    size_t run, const floating[:, ::1] X, const floating[::1] parameters, const int64_t[::1] order,
    floating[:, ::1] out, floating[:, :, ::1] jacobian
):
    """The same for a Jacobian."""
    cdef Run_float* to = <Run_float*>run
    to.X, to.order, to.n_rows, to.parameters = <float*>&X[0, 0], <int64_t*>&order[0], X.shape[0], <float*>&parameters[0]
    to.out, to.gradient = <float*>&out[0, 0], <float*>&jacobian[0, 0, 0]


def run_jacobian(size_t worker, like):
    if like.itemsize == sizeof(float):
        with nogil:
            differentiate_outputs_float(<Worker_float*>worker)
    else:
        with nogil:
            differentiate_outputs_double(<Worker_double*>worker)


def run_online(size_t run, like):
    if like.itemsize == sizeof(float):
        with nogil:
            train_online_float(<Run_float*>run)
    else:
        with nogil:
            train_online_double(<Run_double*>run)


def run_train(size_t worker, like):
    if like.itemsize == sizeof(float):
        with nogil:
            train_float(<Worker_float*>worker)
    else:
        with nogil:
            train_double(<Worker_double*>worker)


def run_predict(size_t worker, like):
    if like.itemsize == sizeof(float):
        with nogil:
            predict_float(<Worker_float*>worker)
    else:
        with nogil:
            predict_double(<Worker_double*>worker)


def run_forward(size_t worker, like):
    if like.itemsize == sizeof(float):
        with nogil:
            forward_pass_float(<Worker_float*>worker)
    else:
        with nogil:
            forward_pass_double(<Worker_double*>worker)


def run_backward(size_t worker, like):
    if like.itemsize == sizeof(float):
        with nogil:
            backward_pass_float(<Worker_float*>worker)
    else:
        with nogil:
            backward_pass_double(<Worker_double*>worker)


def wait_for_ranks(size_t counter, Py_ssize_t n_ranks, Py_ssize_t generation):
    """Barrier number ``generation``, from 1, of ``n_ranks`` processes.

    ``counter`` is the address of an int64 in memory that they share.
    """
    with nogil:
        wait_for_all(<int64_t*>counter, n_ranks, generation)


def run_apply(size_t worker, like):
    if like.itemsize == sizeof(float):
        with nogil:
            apply_gradient_float(<Worker_float*>worker)
    else:
        with nogil:
            apply_gradient_double(<Worker_double*>worker)


def run_loss(
    Py_ssize_t code, Py_ssize_t n_averaged, Py_ssize_t option_step, const floating[:, ::1] outputs,
    const floating[:, ::1] y, const floating[::1] sample_weight, const double[::1] options, floating[::1] errors,
    double[::1] result,
):
    with nogil:
        result[0] = mean_loss(
            code, n_averaged, option_step, <floating*>&outputs[0, 0], <floating*>&y[0, 0],
            <floating*>&sample_weight[0], sample_weight.shape[0] // outputs.shape[0], outputs.shape[0],
            outputs.shape[1], <double*>&options[0], &errors[0],
        )


def run_update(
    Py_ssize_t code, Py_ssize_t rate_rule, floating[::1] parameters, const floating[::1] gradient,
    floating[:, ::1] slots, Py_ssize_t step, double learning_rate, const double[::1] options,
):
    cdef double rate
    with nogil:
        rate = step_rate(rate_rule, learning_rate, step, <double*>&options[0])
        apply_update(
            code, &parameters[0], <floating*>&gradient[0], &slots[0, 0], parameters.shape[0], parameters.shape[0],
            rate, <double*>&options[0],
        )


def run_product(
    const floating[:, ::1] A, const int64_t[::1] rows, bint by_column, Py_ssize_t n_rows, Py_ssize_t inner,
    const floating[:, ::1] B, bint transposed, bint packed, const int64_t[::1] strips, Py_ssize_t n_columns,
    const floating[::1] bias, floating[:, ::1] out, floating[::1] scratch,
):
    with nogil:
        product(
            <floating*>&A[0, 0], <int64_t*>&rows[0], <int64_t*>&rows[0], by_column, 0, n_rows, inner, <floating*>&B[0, 0], B.shape[1],
            transposed, packed, <int64_t*>&strips[0], 0, n_columns, <floating*>&bias[0], True, &out[0, 0],
            out.shape[1], &scratch[0],
        )


def run_packing(
    const floating[:, ::1] M, const int64_t[::1] rows, Py_ssize_t n_terms, bint down, bint transposed,
    floating[::1] out, floating[::1] scratch,
):
    """For tests: pack M, row i of which begins at number rows[i] of it, along its columns or down its rows."""
    cdef floating* first = <floating*>&M[0, 0]
    cdef int64_t* places = <int64_t*>&rows[0]
    cdef Py_ssize_t height = M.shape[0], width = M.shape[1], step = n_tiles(height if down else width) * n_terms * WORDS
    with nogil:
        if down:
            pack_down(first, places, height, width, n_terms, transposed, step, &out[0], &scratch[0])
        else:
            pack_along(first, places, height, width, n_terms, transposed, step, &out[0], &scratch[0])


def run_tiles(
    Py_ssize_t unit, Py_ssize_t n_terms, const floating[::1] left, const floating[::1] right,
    const floating[::1] bias, floating[:, ::1] out, floating[::1] scratch,
):
    """Product of packed operands (engine/bfloat16_tiles.py) of as many rows and columns as ``out``, in one thread."""
    cdef Py_ssize_t rows = out.shape[0], columns = out.shape[1], step = left.shape[0] // ((rows + SIDE - 1) // SIDE)
    cdef int64_t saved[8]
    with nogil:
        open_tiles(unit, saved)
        multiply_tiles(
            unit, n_terms, <floating*>&left[0], <floating*>&right[0], step, step // (n_terms * WORDS), rows, columns,
            <floating*>&bias[0], True, &out[0, 0], columns, &scratch[0],
        )
        close_tiles(unit, saved)


def run_activation(Py_ssize_t code, floating[:, ::1] z, Py_ssize_t rows, Py_ssize_t columns):
    with nogil:
        activate(code, &z[0, 0], rows, columns, z.shape[1])


def run_derivative(Py_ssize_t code, const floating[:, ::1] a, floating[:, ::1] delta):
    with nogil:
        derive(code, <floating*>&a[0, 0], &delta[0, 0], delta.shape[0], delta.shape[1], delta.shape[1])


cdef class RowPredictor:
    """Outputs of a network for one row at a time, without checks beyond the row's size; see compile_predict of MLP."""

    cdef object keep, out
    cdef Layer* layers
    cdef void* local
    cdef void* workspace
    cdef void* outputs
    cdef Py_ssize_t n_layers, itemsize, n_bytes
    cdef char kind

    def __init__(self, plan, n_inputs, n_outputs, parameters):
        local = aligned_zeros((1, plan.n_local), parameters.dtype)
        workspace = aligned_zeros(plan.workspace, parameters.dtype)
        self.out = np.zeros(n_outputs, parameters.dtype)
        run_rearrange(addressof(plan.layers), len(plan.layers), parameters, local)
        self.keep = plan, local, workspace
        self.layers = <Layer*><size_t>addressof(plan.layers)
        self.local, self.workspace = <void*><size_t>local.ctypes.data, <void*><size_t>workspace.ctypes.data
        self.outputs = <void*><size_t>self.out.ctypes.data
        self.n_layers, self.itemsize = len(plan.layers), parameters.itemsize
        self.kind = c"f" if parameters.itemsize == sizeof(float) else c"d"
        self.n_bytes = n_inputs * parameters.itemsize

    def __call__(self, x):
        cdef Py_buffer view
        if not PyObject_CheckBuffer(x):
            raise wrong_row(self.n_bytes // self.itemsize, x)
        try:
            PyObject_GetBuffer(x, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
        except (ValueError, BufferError):
            raise wrong_row(self.n_bytes // self.itemsize, x) from None
        try:
            if view.format[0] != self.kind or view.len != self.n_bytes:
                raise wrong_row(self.n_bytes // self.itemsize, x)
            with nogil:
                if self.itemsize == sizeof(float):
                    predict_row(self.layers, self.n_layers, <float*>view.buf, <float*>self.local, <float*>self.outputs,
                                <float*>self.workspace)
                else:
                    predict_row(self.layers, self.n_layers, <double*>view.buf, <double*>self.local,
                                <double*>self.outputs, <double*>self.workspace)
        finally:
            PyBuffer_Release(&view)
        return self.out


def run_rearrange(size_t layers, Py_ssize_t n_layers, const floating[::1] parameters, floating[:, ::1] local):
    with nogil:
        rearrange(<Layer*>layers, n_layers, <floating*>&parameters[0], &local[0, 0], False)
