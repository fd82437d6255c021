#pragma once
#include <cstdint>

// A network interface, configured through a socket made for the call in the caller's network namespace.
// `tun` is a TAP's descriptor, which knows its interface's present name; `index` tells that interface from another that
// took the name here after the TAP's was moved away. All return 0 or -errno: -ENODEV where it is not in this namespace.
namespace netdev {

// The index of the interface of that name, or -errno.
int Index(const char* name);
int Up(int tun, int index, bool up);
int Mtu(int tun, int index, int mtu);
// An IPv4 address, in host byte order.
int Address(int tun, int index, uint32_t address, int prefix);

}  // namespace netdev
