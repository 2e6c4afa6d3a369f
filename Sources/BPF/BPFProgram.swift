import CLinux
import Glibc

/// A program in the kernel that sees packets at a link (BPF_PROG_TYPE_SCHED_CLS).
public final class BPFProgram: Sendable {
    /// What a program can say of a packet (TC_ACT_* in linux/pkt_cls.h).
    public enum Verdict: Int32, Sendable {
        /// Goes on to the next program, then to the stack.
        case unspecified = -1
        case redirect = 7
    }

    /// The descriptor; closed when this object goes. A program that is attached stays.
    public let descriptor: Int32
    private static let logByteCount = 1 << 20

    /// Loads a program.
    /// - Throws: `BPFError` with the verifier's last words where the kernel refuses it.
    public init(_ name: String, _ instructions: [Instruction]) throws {
        let type = UInt32(BPF_PROG_TYPE_SCHED_CLS.rawValue)
        let count = UInt32(instructions.count)
        var descriptor = portolan_bpf_load(type, instructions, count, name, nil, 0)
        if descriptor < 0 {
            let code = errno
            var log = [CChar](repeating: 0, count: Self.logByteCount)
            descriptor = portolan_bpf_load(
                type, instructions, count, name, &log, UInt32(log.count))
            if descriptor < 0 {
                let text = String(
                    decoding: log.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
                let words = text.split(separator: "\n").suffix(6).joined(separator: "; ")
                throw BPFError("the kernel refuses the BPF program \(name): \(words)", code)
            }
        }
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }

    /// The maps of the program of a number, by name; none where it is gone.
    public static func maps(ofProgram number: UInt32) -> [String: BPFMap] {
        let program = portolan_bpf_open(Int32(BPF_PROG_GET_FD_BY_ID.rawValue), number)
        guard program >= 0 else { return [:] }
        defer { close(program) }
        var numbers = [UInt32](repeating: 0, count: 64)
        var count = UInt32(numbers.count)
        guard portolan_bpf_maps_of(program, &numbers, &count) == 0 else { return [:] }
        var maps: [String: BPFMap] = [:]
        for number in numbers.prefix(Int(count)) {
            if let map = BPFMap(number: number) { maps[map.shape.name] = map }
        }
        return maps
    }

    /// Runs the program on a packet from its Ethernet header on, as if it came from the link of
    /// that number in the calling thread's namespace.
    /// - Returns: the verdict's number, and the packet as the program left it.
    public func run(
        on packet: [UInt8], link: Int32
    ) throws -> (verdict: Int32, packet: [UInt8]) {
        var output = [UInt8](repeating: 0, count: packet.count + 256)
        var size = UInt32(output.count)
        var verdict: UInt32 = 0
        let result = portolan_bpf_test(
            descriptor, UInt32(bitPattern: link), packet, UInt32(packet.count), &output, &size,
            &verdict)
        guard result == 0 else { throw BPFError("a BPF program cannot be run", errno) }
        return (Int32(bitPattern: verdict), Array(output.prefix(Int(size))))
    }
}

/// The kernel refused a map, an entry or a program.
public struct BPFError: Error, Sendable, CustomStringConvertible {
    /// What was refused.
    public let operation: String
    /// The system's number, or 0.
    public let errorNumber: Int32

    init(_ operation: String, _ errorNumber: Int32) {
        self.operation = operation
        self.errorNumber = errorNumber
    }

    /// True where a map has no room for another entry.
    public var isFull: Bool { errorNumber == E2BIG }

    /// What was refused, and why.
    public var description: String {
        errorNumber == 0 ? operation : "\(operation): \(String(cString: strerror(errorNumber)))"
    }
}
