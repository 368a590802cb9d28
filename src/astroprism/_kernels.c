/* The inner loops of reading and preparing a spectrum: one pass each over arrays that numpy would walk
 * many times. Everything here works on contiguous native buffers, allocates nothing it keeps, and
 * releases the interpreter while it runs. The Python around it owns every decision. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#define BLOCK 512 /* pixels worked on at a time */
#define CARD 80   /* bytes of a line of a FITS header */
#define PIECE 65536 /* bytes read at a time: they stay in the processor's cache until they are swapped */

/* The same loop for newer processors too, chosen when the module is loaded. */
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define FAST __attribute__((target_clones("avx2", "default")))
#define LOOSE __attribute__((target_clones("avx2", "default"), optimize("O3", "fast-math")))
#else
#define FAST
#define LOOSE
#endif

static int of_size(const Py_buffer *view, Py_ssize_t items, Py_ssize_t width, const char *name)
{
    if (view->len == items * width)
        return 1;
    PyErr_Format(PyExc_ValueError, "%s holds %zd bytes, expected %zd", name, view->len, items * width);
    return 0;
}

FAST static uint64_t swapped(unsigned char *to, const unsigned char *from, Py_ssize_t bytes, int width)
{
    uint64_t sum = 0;
    if (width == 8) {
        for (Py_ssize_t i = 0; i + 8 <= bytes; i += 8) {
            uint64_t word;
            memcpy(&word, from + i, 8);
            word = __builtin_bswap64(word);
            sum += (word >> 32) + (word & 0xffffffffu);
            memcpy(to + i, &word, 8);
        }
    } else {
        for (Py_ssize_t i = 0; i + 4 <= bytes; i += 4) {
            uint32_t word;
            memcpy(&word, from + i, 4);
            word = __builtin_bswap32(word);
            sum += word;
            memcpy(to + i, &word, 4);
        }
    }
    return sum;
}

/* read_swapped(fd, offset, out, width) -> (bytes read, sum of the 32-bit words as the file has them) */
static PyObject *read_swapped(PyObject *self, PyObject *args)
{
    int fd, width, failed = 0;
    long long offset;
    Py_buffer out;
    if (!PyArg_ParseTuple(args, "iLw*i", &fd, &offset, &out, &width))
        return NULL;
    if ((width != 4 && width != 8) || out.len % width) {
        PyBuffer_Release(&out);
        PyErr_SetString(PyExc_ValueError, "width must be 4 or 8 and divide the buffer");
        return NULL;
    }
    unsigned char *piece = PyMem_RawMalloc(PIECE);
    if (piece == NULL) {
        PyBuffer_Release(&out);
        return PyErr_NoMemory();
    }
    Py_ssize_t done = 0;
    uint64_t sum = 0;
    Py_BEGIN_ALLOW_THREADS
    while (done < out.len) {
        Py_ssize_t want = out.len - done < PIECE ? out.len - done : PIECE, held = 0;
        while (held < want) {
            ssize_t got = pread(fd, piece + held, want - held, offset + done + held);
            if (got < 0 && errno == EINTR)
                continue;
            if (got < 0)
                failed = errno;
            if (got <= 0)
                break;
            held += got;
        }
        sum += swapped((unsigned char *)out.buf + done, piece, held, width);
        done += held;
        if (held < want)
            break;
    }
    Py_END_ALLOW_THREADS
    PyMem_RawFree(piece);
    PyBuffer_Release(&out);
    if (failed) {
        errno = failed;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return Py_BuildValue("nK", done, (unsigned long long)sum);
}

/* Extremes and sum of w[i + 1] - w[i] (relative: over w[i]). Minima become vectors only where the compiler
 * need not think of NaN; the sum is NaN where any step is, and the caller looks at it. */
LOOSE static void steps(const double *w, Py_ssize_t n, double *least, double *most, double *total)
{
    double low = w[1] - w[0], high = low, sum = 0;
    for (Py_ssize_t i = 0; i + 1 < n; i++) {
        double step = w[i + 1] - w[i];
        sum += step;
        low = step < low ? step : low;
        high = step > high ? step : high;
    }
    *least = low, *most = high, *total = sum;
}

LOOSE static void ratios(const double *w, Py_ssize_t n, double *least, double *most, double *total)
{
    double low = (w[1] - w[0]) / w[0], high = low, sum = 0;
    for (Py_ssize_t i = 0; i + 1 < n; i++) {
        double step = (w[i + 1] - w[i]) / w[i];
        sum += step;
        low = step < low ? step : low;
        high = step > high ? step : high;
    }
    *least = low, *most = high, *total = sum;
}

/* spacing(wavelength float64, relative) -> least and most of w[i+1] - w[i], relative: over w[i]; NaN if any is */
static PyObject *spacing(PyObject *self, PyObject *args)
{
    Py_buffer wave;
    int relative;
    if (!PyArg_ParseTuple(args, "y*p", &wave, &relative))
        return NULL;
    const double *w = wave.buf;
    Py_ssize_t n = wave.len / 8;
    double low = NAN, high = NAN, total = NAN;
    Py_BEGIN_ALLOW_THREADS
    if (n > 1)
        (relative ? ratios : steps)(w, n, &low, &high, &total);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&wave);
    if (isnan(total))
        low = high = NAN;
    return Py_BuildValue("dd", low, high);
}

/* Whether every pixel is beyond doubt: most stretches are, and need no counting. */
FAST static int is_clean(const float *flux, const float *sigma, const unsigned char *good, int n, float tiny,
                         float limit, float least, float most)
{
    int32_t clean = memchr(good, 0, n) == NULL;
    for (int i = 0; i < n; i++) {
        float size = fabsf(flux[i]);
        clean &= (size > 0) & (size >= tiny) & (size <= limit) & (size <= FLT_MAX);
    }
    if (sigma)
        for (int i = 0; i < n; i++)
            clean &= (sigma[i] > least) & (sigma[i] < most) & (fabsf(sigma[i]) <= limit);
    return clean;
}

FAST static void judge(const float *flux, const float *sigma, unsigned char *good, Py_ssize_t n, int gaps,
                       float tiny, float limit, float least, float most, Py_ssize_t *count)
{
    int32_t here[BLOCK]; /* as wide as a float: one lane of a vector per pixel */
    for (Py_ssize_t from = 0; from < n; from += BLOCK) {
        int stop = n - from < BLOCK ? (int)(n - from) : BLOCK;
        int32_t measured = 0, impossible = 0, kept = 0, wild = 0, zeros = 0;
        const float *f = flux + from;
        if (is_clean(f, sigma ? sigma + from : NULL, good + from, stop, tiny, limit, least, most)) {
            count[0] += stop, count[2] += stop;
            continue;
        }
        for (int i = 0; i < stop; i++)
            here[i] = good[from + i];
        for (int i = 0; i < stop; i++) {
            float size = fabsf(f[i]);
            int32_t zero = size == 0, beyond = !(size <= limit), vanishing = (size < tiny) & !zero;
            int32_t met = here[i] & (size <= FLT_MAX) & !(zero & gaps);
            measured += met;
            impossible += met & (beyond | vanishing);
            wild += beyond;
            zeros += zero;
            here[i] = met & !beyond & !vanishing;
        }
        if (sigma) {
            const float *s = sigma + from;
            for (int i = 0; i < stop; i++) {
                wild += !(fabsf(s[i]) <= limit);
                here[i] &= (s[i] > least) & (s[i] < most);
            }
        }
        for (int i = 0; i < stop; i++) {
            kept += here[i];
            good[from + i] = (unsigned char)here[i];
        }
        count[0] += measured, count[1] += impossible, count[2] += kept, count[3] += wild, count[4] += zeros;
    }
}

/* survey(flux float32, sigma float32 or None, good, gaps, tiny, limit, least, most)
 *
 * Clears `good` (bool) where flux is not finite, is an exact zero (where `gaps`), lies beyond `limit` or
 * between 0 and `tiny` in magnitude, or where sigma is not between `least` and `most`. Returns how many
 * pixels were good before sigma and limits were looked at, how many of those are impossible, how many are
 * good in the end, and how many, good or not, have a flux or a sigma beyond `limit` in magnitude (or NaN)
 * and how many are exact zeros. */
static PyObject *survey(PyObject *self, PyObject *args)
{
    Py_buffer flux, sigma = {0}, good;
    PyObject *given;
    int gaps;
    float tiny, limit, least, most;
    if (!PyArg_ParseTuple(args, "y*Ow*pffff", &flux, &given, &good, &gaps, &tiny, &limit, &least, &most))
        return NULL;
    Py_ssize_t n = good.len, count[5] = {0};
    int fine = of_size(&flux, n, 4, "flux");
    if (fine && given != Py_None)
        fine = PyObject_GetBuffer(given, &sigma, PyBUF_SIMPLE) == 0 && of_size(&sigma, n, 4, "sigma");
    if (fine) {
        const float *f = flux.buf, *s = sigma.buf;
        unsigned char *g = good.buf;
        Py_BEGIN_ALLOW_THREADS
        judge(f, s, g, n, gaps, tiny, limit, least, most, count);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&flux);
    PyBuffer_Release(&good);
    if (sigma.obj)
        PyBuffer_Release(&sigma);
    return fine ? Py_BuildValue("nnnnn", count[0], count[1], count[2], count[3], count[4]) : NULL;
}

FAST static int has_zero(const float *flux, Py_ssize_t n)
{
    int32_t found = 0;
    for (Py_ssize_t i = 0; i < n; i++)
        found |= flux[i] == 0;
    return found;
}

/* rim(flux float32, good): clears `good` one pixel beyond each run of two or more exact zeros */
static PyObject *rim(PyObject *self, PyObject *args)
{
    Py_buffer flux, good;
    if (!PyArg_ParseTuple(args, "y*w*", &flux, &good))
        return NULL;
    Py_ssize_t n = good.len;
    int fine = of_size(&flux, n, 4, "flux");
    if (fine) {
        const float *f = flux.buf;
        unsigned char *g = good.buf;
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t from = 0; from + 1 < n; from += BLOCK) {
            Py_ssize_t stop = from + BLOCK < n - 1 ? from + BLOCK : n - 1;
            if (!has_zero(f + from, stop - from))
                continue;
            for (Py_ssize_t i = from; i < stop; i++)
                if (f[i] == 0 && f[i + 1] == 0) {
                    if (i > 0)
                        g[i - 1] = 0;
                    if (i + 2 < n)
                        g[i + 2] = 0;
                }
        }
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&flux);
    PyBuffer_Release(&good);
    return fine ? PyLong_FromSsize_t(n) : NULL;
}

/* Whether any pixel differs from both its neighbours by more than `least`; flux[-1] and flux[n] exist. */
FAST static int stands_out(const float *flux, Py_ssize_t n, float least)
{
    int32_t found = 0;
    for (Py_ssize_t i = 0; i < n; i++)
        found |= (fabsf(flux[i] - flux[i - 1]) > least) & (fabsf(flux[i] - flux[i + 1]) > least);
    return found;
}

/* spikes(flux, sigma, good, scatter, factor, flat) -> number cleared
 *
 * Clears `good` at single pixels that stand out of both neighbours, to one side, by more than `factor`
 * times the noise (sigma, or `scatter` where that is more), while the ground beside them is flat to
 * `flat` times their height and two noises. */
static PyObject *spikes(PyObject *self, PyObject *args)
{
    Py_buffer flux, sigma, good;
    float scatter, factor, flat;
    if (!PyArg_ParseTuple(args, "y*y*w*fff", &flux, &sigma, &good, &scatter, &factor, &flat))
        return NULL;
    Py_ssize_t n = good.len, found = 0;
    int fine = of_size(&flux, n, 4, "flux") && of_size(&sigma, n, 4, "sigma");
    if (fine) {
        const float *f = flux.buf, *s = sigma.buf;
        unsigned char *g = good.buf;
        float lowest = factor * scatter;
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t from = 2; from + 2 < n; from += BLOCK) {
            Py_ssize_t stop = from + BLOCK < n - 2 ? from + BLOCK : n - 2;
            if (!stands_out(f + from, stop - from, lowest))
                continue;
            for (Py_ssize_t i = from; i < stop; i++) {
                float left = f[i] - f[i - 1], right = f[i] - f[i + 1];
                float height = fabsf(left) < fabsf(right) ? fabsf(left) : fabsf(right);
                if (!(height > lowest && height > factor * s[i]) || (left > 0) != (right > 0) || !g[i])
                    continue;
                float noise = s[i] > scatter ? s[i] : scatter, ground = flat * height + 2 * noise;
                if (fabsf(f[i - 1] - f[i - 2]) < ground && fabsf(f[i + 1] - f[i + 2]) < ground &&
                    fabsf(f[i - 1] - f[i + 1]) < ground) {
                    g[i] = 0;
                    found++;
                }
            }
        }
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&flux);
    PyBuffer_Release(&sigma);
    PyBuffer_Release(&good);
    return fine ? PyLong_FromSsize_t(found) : NULL;
}

/* The sums of rows that mix `width` native pixels each, all of them good: a constant where this is called. */
static inline __attribute__((always_inline)) void mix_sound(
    const int32_t *start, const float *weight, const float *flux, const float *sigma, int rows, int width,
    float *restrict row, float *restrict variance, float *restrict share)
{
    for (int i = 0; i < rows; i++) {
        const float *w = weight + i * width, *f = flux + start[i], *s = sigma + start[i];
        float mean = 0, square = 0, sum = 0;
        for (int k = 0; k < width; k++) {
            float scaled = w[k] * s[k];
            mean += w[k] * f[k];
            square += scaled * scaled;
            sum += w[k];
        }
        row[i] = mean, variance[i] = square, share[i] = sum;
    }
}

FAST static void mix_two(const int32_t *start, const float *weight, const float *flux, const float *sigma, int rows,
                         float *row, float *variance, float *share)
{
    mix_sound(start, weight, flux, sigma, rows, 2, row, variance, share);
}

FAST static void mix_three(const int32_t *start, const float *weight, const float *flux, const float *sigma,
                           int rows, float *row, float *variance, float *share)
{
    mix_sound(start, weight, flux, sigma, rows, 3, row, variance, share);
}

/* The same for any rows. */
static void mix(const int32_t *first, const int32_t *start, const float *weight, const float *flux,
                const float *sigma, const unsigned char *good, int rows, float *row, float *variance,
                float *share)
{
    for (int i = 0; i < rows; i++) {
        const float *w = weight + first[i], *f = flux + start[i], *s = sigma + start[i];
        const unsigned char *g = good + start[i];
        int32_t count = first[i + 1] - first[i];
        float mean = 0, square = 0, sum = 0;
        for (int32_t k = 0; k < count; k++) {
            float counted = w[k] * (float)g[k], scaled = counted * s[k]; /* no branch: `good` is 0 or 1 */
            mean += w[k] * f[k];
            square += scaled * scaled;
            sum += counted;
        }
        row[i] = mean, variance[i] = square, share[i] = sum;
    }
}

FAST static void settle(float *row, float *error, unsigned char *enough, const float *variance,
                        const float *share, int rows, float least)
{
    for (int i = 0; i < rows; i++) {
        int32_t kept = (share[i] >= least) & (variance[i] > 0);
        row[i] = kept ? row[i] : 0;
        error[i] = kept ? sqrtf(variance[i]) / (share[i] < 0.9999f ? share[i] : 1) : 0;
        enough[i] = (unsigned char)kept;
    }
}

/* Finds which native pixels, from low up to high, lie under some rows, and the width of each row where all have
 * one (else 0). Returns 0 where a row points outside its weights or the spectrum. */
FAST static int extent(const int32_t *first, const int32_t *start, int rows, Py_ssize_t n, Py_ssize_t n_weights,
                       int32_t *low, int32_t *high, int32_t *width)
{
    int32_t outside = (first[0] < 0) | (first[rows] > n_weights), least = start[0], last = 0;
    int32_t common = first[1] - first[0], differs = 0;
    for (int i = 0; i < rows; i++) {
        int32_t count = first[i + 1] - first[i], stop = start[i] + count;
        outside |= (count < 0) | (start[i] < 0) | (stop > n);
        differs |= count != common;
        least = start[i] < least ? start[i] : least;
        last = stop > last ? stop : last;
    }
    *low = least, *high = last, *width = differs ? 0 : common;
    return !outside;
}

/* rebin(first int32 (m+1), start int32 (m), weight, flux, sigma, good, least, out flux, out sigma, out good)
 *
 * Row i mixes the native pixels start[i] .. with weights weight[first[i]] .. weight[first[i+1]-1]: flux with
 * all of them, variance over good pixels with the weights squared. Where good pixels cover a share below
 * `least` of the row, or their errors vanish, the row is not good and its flux and error are 0. */
static PyObject *rebin(PyObject *self, PyObject *args)
{
    Py_buffer view[9];
    float least;
    if (!PyArg_ParseTuple(args, "y*y*y*y*y*y*fw*w*w*", &view[0], &view[1], &view[2], &view[3], &view[4], &view[5],
                          &least, &view[6], &view[7], &view[8]))
        return NULL;
    Py_ssize_t m = view[1].len / 4, n = view[5].len, n_weights = view[2].len / 4;
    const int32_t *first = view[0].buf, *start = view[1].buf;
    const float *weight = view[2].buf, *flux = view[3].buf, *sigma = view[4].buf;
    const unsigned char *good = view[5].buf;
    float *row = view[6].buf, *error = view[7].buf;
    unsigned char *enough = view[8].buf;
    int fine = of_size(&view[0], m + 1, 4, "first") && of_size(&view[3], n, 4, "flux") &&
               of_size(&view[4], n, 4, "sigma") && of_size(&view[6], m, 4, "out flux") &&
               of_size(&view[7], m, 4, "out sigma") && of_size(&view[8], m, 1, "out good");
    int inside = 1;
    if (fine) {
        Py_BEGIN_ALLOW_THREADS
        float variance[BLOCK], share[BLOCK];
        for (Py_ssize_t i = 0; i < m && inside; i += BLOCK) {
            int rows = m - i < BLOCK ? (int)(m - i) : BLOCK;
            int32_t low, high, width;
            inside = extent(first + i, start + i, rows, n, n_weights, &low, &high, &width);
            if (!inside)
                break;
            const float *w = weight + first[i];
            int sound = high <= low || memchr(good + low, 0, high - low) == NULL;
            if (sound && width == 2)
                mix_two(start + i, w, flux, sigma, rows, row + i, variance, share);
            else if (sound && width == 3)
                mix_three(start + i, w, flux, sigma, rows, row + i, variance, share);
            else
                mix(first + i, start + i, weight, flux, sigma, good, rows, row + i, variance, share);
            settle(row + i, error + i, enough + i, variance, share, rows, least);
        }
        Py_END_ALLOW_THREADS
    }
    for (int k = 0; k < 9; k++)
        PyBuffer_Release(&view[k]);
    if (!inside)
        PyErr_SetString(PyExc_ValueError, "weights point outside the spectrum");
    if (!fine || !inside)
        return NULL;
    Py_RETURN_NONE;
}

/* bridge(flux float32, good): in place, a straight line over each run of pixels that are not good, from its one
 * neighbour to the other; the value of the only neighbour at an end */
static PyObject *bridge(PyObject *self, PyObject *args)
{
    Py_buffer flux, good;
    if (!PyArg_ParseTuple(args, "w*y*", &flux, &good))
        return NULL;
    Py_ssize_t n = good.len;
    int fine = of_size(&flux, n, 4, "flux");
    if (fine) {
        float *f = flux.buf;
        const unsigned char *g = good.buf;
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t at = 0; at < n;) {
            const unsigned char *bad = memchr(g + at, 0, n - at);
            if (bad == NULL)
                break;
            Py_ssize_t from = bad - g;
            const unsigned char *known = memchr(bad, 1, n - from);
            at = known ? known - g : n;
            if (from == 0 && at == n)
                break;
            double left = from > 0 ? f[from - 1] : f[at], right = at < n ? f[at] : left;
            double slope = (right - left) / (double)(at - from + 1);
            for (Py_ssize_t i = from; i < at; i++)
                f[i] = (float)(left + slope * (double)(i - from + 1));
        }
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&flux);
    PyBuffer_Release(&good);
    if (!fine)
        return NULL;
    Py_RETURN_NONE;
}

FAST static Py_ssize_t sift(const float *values, const unsigned char *good, Py_ssize_t n, float low, float high,
                            float *out, Py_ssize_t *below)
{
    int32_t inside[BLOCK];
    Py_ssize_t found = 0;
    for (Py_ssize_t from = 0; from < n; from += BLOCK) {
        int stop = n - from < BLOCK ? (int)(n - from) : BLOCK;
        const float *v = values + from;
        int32_t less = 0;
        for (int i = 0; i < stop; i++) {
            int32_t here = good ? good[from + i] : 1;
            less += here & (v[i] < low);
            inside[i] = here & (v[i] >= low) & (v[i] <= high);
        }
        *below += less;
        for (int i = 0; i < stop; i++) { /* no branch: always written, kept where it counts */
            out[found] = v[i];
            found += inside[i];
        }
    }
    return found;
}

/* between(values float32 (n), good or None, low, high, out float32 (n + 1)) -> (good values below low, number
 * of good values from low to high), the latter written to `out` in their order */
static PyObject *between(PyObject *self, PyObject *args)
{
    Py_buffer values, good = {0}, out;
    PyObject *given;
    float low, high;
    if (!PyArg_ParseTuple(args, "y*Offw*", &values, &given, &low, &high, &out))
        return NULL;
    Py_ssize_t n = values.len / 4, below = 0, found = 0;
    int fine = of_size(&out, n + 1, 4, "out");
    if (fine && given != Py_None)
        fine = PyObject_GetBuffer(given, &good, PyBUF_SIMPLE) == 0 && of_size(&good, n, 1, "good");
    if (fine) {
        Py_BEGIN_ALLOW_THREADS
        found = sift(values.buf, good.buf, n, low, high, out.buf, &below);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&values);
    PyBuffer_Release(&out);
    if (good.obj)
        PyBuffer_Release(&good);
    return fine ? Py_BuildValue("nn", below, found) : NULL;
}

FAST static void divide(float *out, const float *from, const unsigned char *good, Py_ssize_t n, float by)
{
    if (good)
        for (Py_ssize_t i = 0; i < n; i++)
            out[i] = good[i] ? from[i] / by : 0;
    else
        for (Py_ssize_t i = 0; i < n; i++)
            out[i] = from[i] / by;
}

/* scaled(out float32 (n), values float32 (n), good or None, by): out = values / by, 0 where not good */
static PyObject *scaled(PyObject *self, PyObject *args)
{
    Py_buffer out, values, good = {0};
    PyObject *given;
    float by;
    if (!PyArg_ParseTuple(args, "w*y*Of", &out, &values, &given, &by))
        return NULL;
    Py_ssize_t n = out.len / 4;
    int fine = of_size(&values, n, 4, "values");
    if (fine && given != Py_None)
        fine = PyObject_GetBuffer(given, &good, PyBUF_SIMPLE) == 0 && of_size(&good, n, 1, "good");
    if (fine) {
        Py_BEGIN_ALLOW_THREADS
        divide(out.buf, values.buf, good.buf, n, by);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&out);
    PyBuffer_Release(&values);
    if (good.obj)
        PyBuffer_Release(&good);
    if (!fine)
        return NULL;
    Py_RETURN_NONE;
}

/* The number that these bytes up to '/' are, blanks aside; NaN where they are no plain decimal number. */
static double plain_number(const char *value, Py_ssize_t n)
{
    char digits[CARD + 1];
    Py_ssize_t length = 0, at = 0;
    const char *stop = memchr(value, '/', n);
    n = stop ? stop - value : n;
    while (at < n && value[at] == ' ')
        at++;
    while (n > at && value[n - 1] == ' ')
        n--;
    for (; at < n; at++) {
        if (value[at] == 0 || !strchr("0123456789+-.eE", value[at]))
            return NAN;
        digits[length++] = value[at];
    }
    digits[length] = 0;
    char *end;
    double number = PyOS_string_to_double(digits, &end, NULL);
    if (PyErr_Occurred() || end != digits + length || length == 0) {
        PyErr_Clear();
        return NAN;
    }
    return number;
}

/* cards(raw) -> [(name, what stands behind '=', its number)] of the cards of a FITS header that have a '=' behind
 * a name of eight bytes or of HIERARCH, the last first. The number is NaN where it takes a closer look. */
static PyObject *cards(PyObject *self, PyObject *args)
{
    Py_buffer raw;
    if (!PyArg_ParseTuple(args, "y*", &raw))
        return NULL;
    PyObject *found = PyList_New(0);
    for (Py_ssize_t at = raw.len - CARD; found && at >= 0; at -= CARD) {
        const char *card = (const char *)raw.buf + at, *equals = memchr(card, '=', CARD);
        if (!equals || (equals != card + 8 && memcmp(card, "HIERARCH ", 9) != 0))
            continue;
        Py_ssize_t name = equals - card, rest = CARD - name - 1;
        while (name > 0 && card[name - 1] == ' ')
            name--;
        PyObject *entry = Py_BuildValue("NNd", PyUnicode_DecodeLatin1(card, name, NULL),
                                        PyUnicode_DecodeLatin1(equals + 1, rest, NULL),
                                        plain_number(equals + 1, rest));
        if (!entry || PyList_Append(found, entry) < 0)
            Py_CLEAR(found);
        Py_XDECREF(entry);
    }
    PyBuffer_Release(&raw);
    return found;
}

/* keep_memory(): freed arrays of spectra stay with this process for the next ones. By default each large one is
 * given back to the system, and its pages are fetched and cleared anew, one fault at a time. */
static PyObject *keep_memory(PyObject *self, PyObject *args)
{
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, 32 << 20); /* the most that glibc allows */
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
    mallopt(M_TOP_PAD, 16 << 20);
#endif
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"read_swapped", read_swapped, METH_VARARGS, "Read big-endian values as native ones and sum their words."},
    {"spacing", spacing, METH_VARARGS, "Extremes of the spacing of wavelengths, and of its ratio to them."},
    {"survey", survey, METH_VARARGS, "Mask what is no measurement, in place, and count it."},
    {"rim", rim, METH_VARARGS, "Mask the pixels beside runs of zeros, in place."},
    {"spikes", spikes, METH_VARARGS, "Mask single-pixel spikes, in place, and count them."},
    {"scaled", scaled, METH_VARARGS, "Values over a number, 0 where not good."},
    {"cards", cards, METH_VARARGS, "Names, values and numbers of a FITS header."},
    {"keep_memory", keep_memory, METH_NOARGS, "Freed memory stays with the process."},
    {"bridge", bridge, METH_VARARGS, "Straight lines over what is not good, in place."},
    {"between", between, METH_VARARGS, "The values of a range, and how many lie below it."},
    {"rebin", rebin, METH_VARARGS, "Overlap-weighted means, errors and coverage."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_kernels", NULL, 0, methods};

PyMODINIT_FUNC PyInit__kernels(void)
{
    return PyModule_Create(&module);
}
