import CLinux
import Glibc

/// The kernel refused a request, or could not be asked.
public struct NetlinkError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The number of the error (errno.h).
    public var errorNumber: Int32
    /// What was to be done, in words.
    public var operation: String
    /// What the kernel says beyond the number (NLMSGERR_ATTR_MSG); empty for nothing.
    public var message: String

    /// Describes a failure.
    public init(_ errorNumber: Int32, _ operation: String, message: String = "") {
        self.errorNumber = errorNumber
        self.operation = operation
        self.message = message
    }

    /// Describes the failure of the system call just made.
    init(currentErrorFor operation: String) {
        self.init(errno, operation)
    }

    /// `create link web: File exists (…)`, with a remedy where one is known.
    public var description: String {
        var text = "\(operation): \(Self.text(errorNumber))"
        if !message.isEmpty { text += " (\(message))" }
        switch errorNumber {
        case EPERM, EACCES: text += "; run as root (CAP_NET_ADMIN is needed)"
        case EPROTONOSUPPORT, EOPNOTSUPP: text += "; the kernel lacks this feature"
        default: break
        }
        return text
    }

    /// The C library's words for an error number.
    public static func text(_ errorNumber: Int32) -> String {
        // strerror's buffer is the calling thread's own in glibc 2.32 and later.
        String(cString: strerror(errorNumber))
    }

    /// True where the object exists already.
    public var isAlreadyExists: Bool { errorNumber == EEXIST }

    /// True where the object, link or namespace is missing.
    public var isNotFound: Bool {
        [ENOENT, ENODEV, ESRCH, ENXIO, EADDRNOTAVAIL].contains(errorNumber)
    }
}

/// One message of a batch that the kernel refused.
public struct MessageFailure: Hashable, Sendable {
    /// The message's index in its buffer.
    public var messageIndex: Int
    /// The number of the error (errno.h).
    public var errorNumber: Int32
    /// What the kernel says beyond the number; empty for nothing.
    public var message: String
    /// The offset in the message of the attribute the kernel points at.
    public var attributeOffset: Int?

    /// Reads an NLMSG_ERROR message; nil for an acknowledgement without error.
    init?(_ reply: Message, messageIndex: Int) {
        let code = Int32(bitPattern: reply.payload.uint32())
        guard code != 0 else { return nil }
        self.messageIndex = messageIndex
        errorNumber = -code
        message = ""
        // struct nlmsgerr: the error, then the header of the request, then (NETLINK_CAP_ACK cut the
        // rest of the request) the attributes of the extended acknowledgement.
        guard Int(reply.flags) & Int(NLM_F_ACK_TLVS) != 0 else { return }
        var offset = 20
        if Int(reply.flags) & Int(NLM_F_CAPPED) == 0 {
            offset = 4 + ((Int(reply.payload.uint32(at: 4)) + 3) & ~3)
        }
        let extended = reply.payload.dropFirst(offset)
        message = extended.attribute(1)?.string ?? ""  // NLMSGERR_ATTR_MSG
        attributeOffset = extended.attribute(2).map { Int($0.uint32()) }  // NLMSGERR_ATTR_OFFS
    }
}
