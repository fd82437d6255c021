#include "kernels.h"

#include "checked.h"

#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace kernels {
namespace {

struct Table {
  uint32_t words[8][256];
  constexpr Table() : words() {
    for (uint32_t n = 0; n < 256; n++) {
      uint32_t crc = n;
      for (int bit = 0; bit < 8; bit++) crc = (crc & 1) ? (crc >> 1) ^ 0xedb88320 : crc >> 1;
      words[0][n] = crc;
    }
    for (int i = 1; i < 8; i++)
      for (int n = 0; n < 256; n++) words[i][n] = words[0][words[i - 1][n] & 0xff] ^ (words[i - 1][n] >> 8);
  }
};

constexpr Table kTable;

uint32_t CrcByTable(uint32_t crc, const uint8_t* at, size_t length) {
  const auto& t = kTable.words;
  for (; length >= 8; at += 8, length -= 8) {
    uint32_t words[2];
    memcpy(words, at, 8);
    const uint32_t a = words[0] ^ crc;
    const uint32_t b = words[1];
    crc = t[7][a & 0xff] ^ t[6][(a >> 8) & 0xff] ^ t[5][(a >> 16) & 0xff] ^ t[4][a >> 24] ^ t[3][b & 0xff] ^
          t[2][(b >> 8) & 0xff] ^ t[1][(b >> 16) & 0xff] ^ t[0][b >> 24];
  }
  for (; length > 0; length--) crc = t[0][(crc ^ *at++) & 0xff] ^ (crc >> 8);
  return crc;
}

// Words of 32 bits in a sum of 64, which is 0 modulo 2^16 - 1 where they are.
uint64_t SumByWords(const uint8_t* at, size_t length) {
  uint64_t sum = 0;
  for (; length >= 8; at += 8, length -= 8) {
    uint32_t words[2];
    memcpy(words, at, 8);
    sum += uint64_t{words[0]} + words[1];
  }
  for (; length >= 2; at += 2, length -= 2) sum += at[0] | at[1] << 8;
  return length > 0 ? sum + *at : sum;
}

#if defined(__x86_64__)

// Folding by carry-less multiplication, and Barrett's reduction; the constants are those of V. Gopal et al., "Fast CRC
// Computation for Generic Polynomials Using PCLMULQDQ Instruction" (Intel, 2009), for IEEE 802.3 with its bits reflected.
__attribute__((target("pclmul,sse4.1"))) uint32_t CrcByFolding(uint32_t crc, const uint8_t* at, size_t length) {
  if (length < 64) return CrcByTable(crc, at, length);
  const __m128i by512 = _mm_set_epi64x(0x1c6e41596, 0x154442bd4);
  const __m128i by128 = _mm_set_epi64x(0x0ccaa009e, 0x1751997d0);
  const auto load = [](const uint8_t* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); };
  const auto fold = [](__m128i x, __m128i by) __attribute__((target("pclmul,sse4.1"))) {
    return _mm_xor_si128(_mm_clmulepi64_si128(x, by, 0x00), _mm_clmulepi64_si128(x, by, 0x11));
  };
  __m128i a = _mm_xor_si128(load(at), _mm_cvtsi32_si128(static_cast<int>(crc)));
  __m128i b = load(at + 16);
  __m128i c = load(at + 32);
  __m128i d = load(at + 48);
  for (at += 64, length -= 64; length >= 64; at += 64, length -= 64) {
    a = _mm_xor_si128(fold(a, by512), load(at));
    b = _mm_xor_si128(fold(b, by512), load(at + 16));
    c = _mm_xor_si128(fold(c, by512), load(at + 32));
    d = _mm_xor_si128(fold(d, by512), load(at + 48));
  }
  a = _mm_xor_si128(fold(a, by128), b);
  a = _mm_xor_si128(fold(a, by128), c);
  a = _mm_xor_si128(fold(a, by128), d);
  for (; length >= 16; at += 16, length -= 16) a = _mm_xor_si128(fold(a, by128), load(at));
  const __m128i low = _mm_set_epi32(0, -1, 0, -1);
  a = _mm_xor_si128(_mm_srli_si128(a, 8), _mm_clmulepi64_si128(a, by128, 0x10));
  a = _mm_xor_si128(_mm_srli_si128(a, 4),
                    _mm_clmulepi64_si128(_mm_and_si128(a, low), _mm_set_epi64x(0, 0x163cd6124), 0x00));
  const __m128i barrett = _mm_set_epi64x(0x1f7011641, 0x1db710641);
  __m128i quotient = _mm_clmulepi64_si128(_mm_and_si128(a, low), barrett, 0x10);
  quotient = _mm_clmulepi64_si128(_mm_and_si128(quotient, low), barrett, 0x00);
  const uint32_t rest = static_cast<uint32_t>(_mm_extract_epi32(_mm_xor_si128(a, quotient), 1));
  return CrcByTable(rest, at, length);
}

__attribute__((target("avx2"))) uint64_t SumByVectors(const uint8_t* at, size_t length) {
  const __m256i low = _mm256_set1_epi64x(0xffffffff);
  __m256i even = _mm256_setzero_si256();
  __m256i odd = _mm256_setzero_si256();
  for (; length >= 32; at += 32, length -= 32) {
    const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
    even = _mm256_add_epi64(even, _mm256_and_si256(words, low));
    odd = _mm256_add_epi64(odd, _mm256_srli_epi64(words, 32));
  }
  alignas(32) uint64_t lanes[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), _mm256_add_epi64(even, odd));
  return lanes[0] + lanes[1] + lanes[2] + lanes[3] + SumByWords(at, length);
}

const auto Crc = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1") ? CrcByFolding : CrcByTable;
const auto Sum = __builtin_cpu_supports("avx2") ? SumByVectors : SumByWords;

#else

constexpr auto Crc = CrcByTable;
constexpr auto Sum = SumByWords;

#endif

uint32_t Folded(uint64_t sum) {
  while (sum > 0xffff) sum = (sum >> 16) + (sum & 0xffff);
  return static_cast<uint32_t>(sum);
}

// A range of a Uint8Array, as two arguments from `first` on and a length say; asked once for all that is to be known.
uint8_t* Range(const Napi::CallbackInfo& info, size_t first, int64_t length) {
  const napi_env env = info.Env();
  napi_typedarray_type type;
  size_t size;
  void* data;
  int64_t start;
  if (napi_get_typedarray_info(env, info[first], &type, &size, &data, nullptr, nullptr) != napi_ok ||
      type != napi_uint8_array || napi_get_value_int64(env, info[first + 1], &start) != napi_ok) {
    napi_throw_type_error(env, nullptr, "a range is a Uint8Array, a start and a length");
    return nullptr;
  }
  if (!Inside(env, start, length, size)) return nullptr;
  static uint8_t nothing;
  return length == 0 ? &nothing : static_cast<uint8_t*>(data) + start;
}

int64_t Length(const Napi::CallbackInfo& info, size_t index) {
  int64_t length;
  return napi_get_value_int64(info.Env(), info[index], &length) == napi_ok ? length : -1;
}

Napi::Value CrcOf(const Napi::CallbackInfo& info) {
  const int64_t length = Length(info, 2);
  const uint8_t* const at = Range(info, 0, length);
  if (!at) return Napi::Value();
  return Napi::Number::New(info.Env(), ~Crc(0xffffffff, at, static_cast<size_t>(length)));
}

Napi::Value SumOf(const Napi::CallbackInfo& info) {
  const int64_t length = Length(info, 2);
  const uint8_t* const at = Range(info, 0, length);
  if (!at) return Napi::Value();
  return Napi::Number::New(info.Env(), Folded(Sum(at, static_cast<size_t>(length))));
}

// The sum is of what has arrived: who shares the memory it comes from may alter that at any time.
Napi::Value CopyAndSum(const Napi::CallbackInfo& info) {
  const int64_t length = Length(info, 4);
  const uint8_t* const from = Range(info, 0, length);
  uint8_t* const to = from ? Range(info, 2, length) : nullptr;
  if (!to) return Napi::Value();
  memmove(to, from, static_cast<size_t>(length));
  return Napi::Number::New(info.Env(), Folded(Sum(to, static_cast<size_t>(length))));
}

}  // namespace

void Define(Napi::Env env, Napi::Object exports) {
  Napi::Object offered = Napi::Object::New(env);
  offered.Set("crc32", Napi::Function::New<CrcOf>(env, "crc32"));
  offered.Set("littleSum", Napi::Function::New<SumOf>(env, "littleSum"));
  offered.Set("copyAndSum", Napi::Function::New<CopyAndSum>(env, "copyAndSum"));
  exports.Set("kernels", offered);
}

}  // namespace kernels
