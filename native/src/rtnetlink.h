#pragma once
#include <napi.h>

// Sockets of NETLINK_ROUTE (rtnetlink(7)). native/link-message.ts knows what is said on them.
namespace rtnetlink {

// Opens one in the namespace of the TAP's interface: for requests, or to be told that links changed. Its fd, or -errno.
int Open(int tun, bool told);

// drain(fd) -> 0: throws away what was told, as far as the caller should go at once.
// ask(fd, request, reply) -> bytes of the kernel's answer.
void Define(Napi::Env env, Napi::Object exports);

}  // namespace rtnetlink
