import CLinux
import Glibc

/// Buffers for a batch of datagrams in and out, allocated once and used for every batch.
///
/// Not safe to share; each thread has its own.
final class DatagramBatch {
    /// Datagrams a system call moves at most.
    static let capacity = 64
    /// The longest query taken; a longer datagram is cut by the kernel and fails to parse.
    static let inputSize = 2048
    /// Room for an answer: the largest datagram and what is written past the limit before it is
    /// checked.
    static let outputSize = 8192

    private let input: UnsafeMutablePointer<UInt8>
    private let output: UnsafeMutablePointer<UInt8>
    private let names: UnsafeMutablePointer<sockaddr_storage>
    private let inputVectors: UnsafeMutablePointer<iovec>
    private let outputVectors: UnsafeMutablePointer<iovec>
    private let received: UnsafeMutablePointer<portolan_mmsghdr>
    private let sending: UnsafeMutablePointer<portolan_mmsghdr>
    private(set) var sendCount = 0

    init() {
        let capacity = Self.capacity
        input = .allocate(capacity: capacity * Self.inputSize)
        output = .allocate(capacity: capacity * Self.outputSize)
        names = .allocate(capacity: capacity)
        inputVectors = .allocate(capacity: capacity)
        outputVectors = .allocate(capacity: capacity)
        received = .allocate(capacity: capacity)
        sending = .allocate(capacity: capacity)
        names.initialize(repeating: sockaddr_storage(), count: capacity)
        received.initialize(repeating: portolan_mmsghdr(), count: capacity)
        sending.initialize(repeating: portolan_mmsghdr(), count: capacity)
        for index in 0..<capacity {
            (inputVectors + index).initialize(
                to: iovec(iov_base: input + index * Self.inputSize, iov_len: Self.inputSize))
            (outputVectors + index).initialize(
                to: iovec(iov_base: output + index * Self.outputSize, iov_len: 0))
            received[index].msg_hdr.msg_iov = inputVectors + index
            received[index].msg_hdr.msg_iovlen = 1
            received[index].msg_hdr.msg_name = UnsafeMutableRawPointer(names + index)
        }
    }

    deinit {
        input.deallocate()
        output.deallocate()
        names.deallocate()
        inputVectors.deallocate()
        outputVectors.deallocate()
        received.deallocate()
        sending.deallocate()
    }

    /// Takes what waits at `descriptor`, without waiting; how many datagrams, or -1 and errno.
    @inline(__always)
    func receive(_ descriptor: Int32) -> Int {
        sendCount = 0
        for index in 0..<Self.capacity {
            received[index].msg_hdr.msg_namelen = socklen_t(MemoryLayout<sockaddr_storage>.size)
        }
        return Int(
            portolan_recvmmsg(
                descriptor, received, UInt32(Self.capacity), Int32(MSG_DONTWAIT)))
    }

    /// The datagram at `index`.
    @inline(__always)
    func message(_ index: Int) -> UnsafeBufferPointer<UInt8> {
        UnsafeBufferPointer(
            start: input + index * Self.inputSize, count: Int(received[index].msg_len))
    }

    /// Where the datagram at `index` came from.
    @inline(__always)
    func name(_ index: Int) -> UnsafeMutablePointer<sockaddr_storage> { names + index }

    /// The length of the address at `index`.
    func nameLength(_ index: Int) -> socklen_t { received[index].msg_hdr.msg_namelen }

    /// Where the answer to the datagram at `index` is to be written.
    @inline(__always)
    func output(_ index: Int) -> UnsafeMutablePointer<UInt8> { output + index * Self.outputSize }

    /// Puts the answer to the datagram at `index`, `length` octets, on the list to send.
    @inline(__always)
    func enqueue(_ index: Int, length: Int) {
        outputVectors[index].iov_len = length
        sending[sendCount].msg_hdr.msg_iov = outputVectors + index
        sending[sendCount].msg_hdr.msg_iovlen = 1
        sending[sendCount].msg_hdr.msg_name = UnsafeMutableRawPointer(names + index)
        sending[sendCount].msg_hdr.msg_namelen = received[index].msg_hdr.msg_namelen
        sendCount += 1
    }

    /// Sends the list; how many answers the kernel refused and so are lost, as UDP allows.
    @inline(__always)
    func send(_ descriptor: Int32) -> Int {
        var sent = 0
        var lost = 0
        while sent < sendCount {
            let count = portolan_sendmmsg(
                descriptor, sending + sent, UInt32(sendCount - sent), 0)
            if count > 0 {
                sent += Int(count)
            } else if errno != EINTR {
                // The first of the rest was refused; the others may be welcome.
                sent += 1
                lost += 1
            }
        }
        sendCount = 0
        return lost
    }
}
