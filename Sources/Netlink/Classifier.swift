import CLinux

/// A BPF program that sees the packets of a link (a filter of the kernel's traffic control,
/// tc-bpf(8)). It stays when the process that put it there ends, and goes with the link.
public struct Classifier: Hashable, Sendable {
    /// Which packets it sees.
    public enum Direction: Hashable, Sendable, CaseIterable {
        /// Those that come in by the link.
        case ingress
        /// Those that leave by it.
        case egress

        /// TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_…) of linux/pkt_sched.h
        fileprivate var parent: UInt32 { self == .ingress ? 0xFFFF_FFF2 : 0xFFFF_FFF3 }
    }

    /// The link's number.
    public var linkIndex: Int32
    /// Which packets it sees.
    public var direction: Direction
    /// Among several the lowest comes first; a link has one of each priority.
    public var priority: UInt16
    /// What it calls itself.
    public var name: String
    /// The kernel's number of the program, where it is known.
    public var programNumber: UInt32?

    /// Describes a classifier.
    public init(linkIndex: Int32, _ direction: Direction, priority: UInt16, name: String) {
        self.linkIndex = linkIndex
        self.direction = direction
        self.priority = priority
        self.name = name
    }

    /// ETH_P_ALL, in network order as struct tcmsg has it.
    private static let allProtocols = UInt32(UInt16(0x0003).bigEndian)
    private static let kind = "bpf"

    /// Reads RTM_NEWTFILTER; nil for kinds other than `bpf`, and for what is no filter yet.
    init?(_ message: Message, _ direction: Direction) {
        let payload = message.payload
        guard message.type == UInt16(RTM_NEWTFILTER), payload.count >= 20,
            payload.uint32(at: 8) != 0,
            payload.attribute(TCA_KIND, from: 20)?.string == Self.kind,
            let options = payload.attribute(TCA_OPTIONS, from: 20)
        else { return nil }
        linkIndex = Int32(bitPattern: payload.uint32(at: 4))
        self.direction = direction
        priority = UInt16(truncatingIfNeeded: payload.uint32(at: 16) >> 16)
        name = options.attribute(TCA_BPF_NAME)?.string ?? ""
        programNumber = options.attribute(TCA_BPF_ID)?.uint32()
    }

    /// The fixed part of requests about a link's filters.
    static func header(linkIndex: Int32, _ direction: Direction) -> tcmsg {
        var header = tcmsg()
        header.tcm_ifindex = linkIndex
        header.tcm_parent = direction.parent
        return header
    }

    /// Appends what makes a link's place for classifiers: the queue discipline `clsact`.
    static func encodeHook(linkIndex: Int32, into buffer: MessageBuffer) {
        var header = tcmsg()
        header.tcm_ifindex = linkIndex
        header.tcm_handle = 0xFFFF_0000
        header.tcm_parent = 0xFFFF_FFF1
        buffer.putStruct(header)
        buffer.putString(TCA_KIND, "clsact")
    }

    /// Appends the classifier, with the program it is to be where it is made.
    func encode(program: Int32?, into buffer: MessageBuffer) {
        var header = Self.header(linkIndex: linkIndex, direction)
        header.tcm_handle = 1
        header.tcm_info = UInt32(priority) << 16 | Self.allProtocols
        buffer.putStruct(header)
        buffer.putString(TCA_KIND, Self.kind)
        guard let program else { return }
        buffer.nest(TCA_OPTIONS) {
            buffer.put32(TCA_BPF_FD, UInt32(bitPattern: program))
            buffer.putString(TCA_BPF_NAME, name)
            // The program's verdict is the filter's.
            buffer.put32(TCA_BPF_FLAGS, UInt32(TCA_BPF_FLAG_ACT_DIRECT))
        }
    }
}
