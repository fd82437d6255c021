#include "descriptor.h"
#include "kernels.h"
#include "memory.h"
#include "poll.h"
#include "registers.h"
#include "rtnetlink.h"
#include "socket.h"
#include "tap.h"
#include "vfio.h"
#include "wait.h"

// Everything the addon offers. Functions return 0 (or a count) or a negative errno, and TypeScript turns that into an
// error: no message lives on this side. Only arguments of another type and offsets outside of memory throw here (checked.h);
// not into a worker that is being terminated, where that would end the process (NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS).
static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("Tap", Tap::Define(env));
  exports.Set("Poll", Poll::Define(env));
  exports.Set("Memory", Memory::Define(env));
  exports.Set("Registers", Registers::Define(env));
  exports.Set("Socket", Socket::Define(env));
  exports.Set("Wait", Wait::Define(env));
  descriptor::Define(env, exports);
  kernels::Define(env, exports);
  rtnetlink::Define(env, exports);
  vfio::Define(env, exports);
  return exports;
}

NODE_API_MODULE(fauxnic, Init)
