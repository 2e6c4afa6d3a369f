/// What one Service gives to a reverse name.
struct ReverseContribution: Equatable {
    var owner: UInt32
    var target: [UInt8]
    var isChosen: Bool
}

extension NameRecords {
    /// A reverse name's records: targets with chosen host names are shown; dashed addresses only
    /// where nobody chose a name. What is not shown is kept in a set of type 0, which no question
    /// can match, for the day the others go away.
    static func reverse(
        _ name: DNSName, _ contributions: [ReverseContribution], timeToLiveSeconds: UInt32
    ) -> NameRecords {
        let sorted = contributions.sorted {
            ($0.owner, $0.target.count) < ($1.owner, $1.target.count)
        }
        let chosen = sorted.filter(\.isChosen)
        let shown = chosen.isEmpty ? sorted : chosen
        let hidden = chosen.isEmpty ? [] : sorted.filter { !$0.isChosen }
        var sets = [
            RecordSet(
                type: .ptr, timeToLiveSeconds: timeToLiveSeconds, data: shown.map(\.target))
        ]
        if !hidden.isEmpty {
            sets.append(
                RecordSet(
                    type: RecordType(rawValue: 0), timeToLiveSeconds: timeToLiveSeconds,
                    data: hidden.map(\.target)))
        }
        let marks = (shown + hidden).map { $0.owner | ($0.isChosen ? NameBlock.chosenMark : 0) }
        return NameRecords(name: name, flags: .reverse, sets: sets, contributors: marks)
    }
}

extension NameBlock {
    /// Set in a contributor's number where its target is a chosen host name.
    static let chosenMark: UInt32 = 0x8000_0000

    /// The contributions that a reverse block was rendered from.
    var reverseContributions: [ReverseContribution] {
        var result: [ReverseContribution] = []
        for index in 0..<setCount {
            let set = set(index)
            var offset = set.offset
            for _ in 0..<set.answerCount {
                let length =
                    Int(memory.load(fromByteOffset: offset + 10, as: UInt8.self)) << 8
                    | Int(memory.load(fromByteOffset: offset + 11, as: UInt8.self))
                let data = UnsafeRawBufferPointer(start: memory + offset + 12, count: length)
                let mark = contributor(result.count)
                result.append(
                    ReverseContribution(
                        owner: mark & ~Self.chosenMark, target: Array(data),
                        isChosen: mark & Self.chosenMark != 0))
                offset += 12 + length
            }
        }
        return result
    }

    /// Whether this reverse block has `record` of `owner` and nothing else.
    func isSoleContribution(_ record: ReverseRecord, of owner: UInt32) -> Bool {
        guard ownerCount == 1, setCount == 1,
            contributor(0) == owner | (record.isChosen ? Self.chosenMark : 0)
        else { return false }
        let set = set(0)
        let target = record.target.wire
        guard set.answerCount == 1, set.answerLength == 12 + target.count else { return false }
        let data = UnsafeRawBufferPointer(
            start: memory + set.offset + 12, count: target.count)
        return data.elementsEqual(target)
    }
}
