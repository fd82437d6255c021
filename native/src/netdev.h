#pragma once
#include <cstdint>

// A TAP's interface, configured in the network namespace where it is by now, under the name that it has by now.
// `tun` is the TAP's descriptor. All return -errno on failure: -EBADFD where the interface was deleted.
namespace netdev {

// The index of the interface of that name in the caller's namespace.
int Index(const char* name);
// Which namespace it is in: its inode's number. 0 where the kernel (before 4.20) does not tell; it counts as the caller's.
int64_t Namespace(int tun);
// Its index there.
int Index(int tun);
// A socket there.
int Socket(int tun, int family, int type, int protocol);
int Up(int tun, bool up);
int Mtu(int tun, int mtu);
// An IPv4 address, in host byte order.
int Address(int tun, uint32_t address, int prefix);

}  // namespace netdev
