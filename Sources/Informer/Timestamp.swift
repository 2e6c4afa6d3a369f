import Glibc
public import KubernetesAPI

extension Timestamp {
    /// The present moment of the wall clock.
    public static var now: Timestamp {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(microseconds: Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000)
    }

    /// Makes a moment from nanoseconds since 1970, cut to microseconds.
    public init(nanoseconds: Int64) { self.init(microseconds: nanoseconds / 1000) }

    /// Nanoseconds since 1970.
    public var nanoseconds: Int64 { microseconds * 1000 }

    /// The seconds from `earlier` to this moment.
    public func secondsSince(_ earlier: Timestamp) -> Double {
        Double(microseconds - earlier.microseconds) / 1e6
    }

    /// The moment `seconds` later.
    public func adding(seconds: Double) -> Timestamp {
        Timestamp(microseconds: microseconds + Int64(seconds * 1e6))
    }
}
