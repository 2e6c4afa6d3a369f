/// Puts a program together. Jumps lead to labels, which may come later; loops are not possible.
public struct Assembler: Sendable {
    /// A place in the program.
    public struct Label: Hashable, Sendable {
        fileprivate var number: Int
    }

    private var instructions: [Instruction] = []
    private var places: [Label: Int] = [:]
    private var jumps: [(index: Int, label: Label)] = []
    private var labelCount = 0

    /// An empty program.
    public init() {}

    /// The program.
    /// - Throws: `BPFError` where a label has no place, or one that cannot be jumped to.
    public func program() throws -> [Instruction] {
        var program = instructions
        for (index, label) in jumps {
            guard let place = places[label], place > index,
                let offset = Int16(exactly: place - index - 1)
            else { throw BPFError("a jump at \(index) of a BPF program leads nowhere", 0) }
            program[index].rawValue |= UInt64(UInt16(bitPattern: offset)) << 16
        }
        return program
    }

    // MARK: - Labels and jumps

    /// A new label, not yet placed.
    public mutating func label() -> Label {
        labelCount += 1
        return Label(number: labelCount)
    }

    /// Puts the label before the next instruction.
    public mutating func place(_ label: Label) { places[label] = instructions.count }

    /// Jumps always.
    public mutating func jump(to label: Label) {
        jumps.append((instructions.count, label))
        instructions.append(Instruction(0x05))
    }

    /// Jumps where the register compares so with a number.
    public mutating func jump(
        _ condition: Condition, _ left: Register, _ right: Int32, to label: Label
    ) {
        jumps.append((instructions.count, label))
        instructions.append(Instruction(0x05 | condition.rawValue, left, immediate: right))
    }

    /// Jumps where the registers compare so.
    public mutating func jump(
        _ condition: Condition, _ left: Register, _ right: Register, to label: Label
    ) {
        jumps.append((instructions.count, label))
        instructions.append(Instruction(0x0d | condition.rawValue, left, right.rawValue))
    }

    // MARK: - Computing

    /// Computes with a number, which is extended by its sign.
    public mutating func compute(
        _ computation: Computation, _ register: Register, _ number: Int32
    ) {
        instructions.append(Instruction(0x07 | computation.rawValue, register, immediate: number))
    }

    /// Computes with another register.
    public mutating func compute(
        _ computation: Computation, _ register: Register, _ other: Register
    ) {
        instructions.append(Instruction(0x0f | computation.rawValue, register, other.rawValue))
    }

    /// Sets a register to a number.
    public mutating func move(_ register: Register, _ number: Int32) {
        compute(.move, register, number)
    }

    /// Copies a register.
    public mutating func move(_ register: Register, _ other: Register) {
        compute(.move, register, other)
    }

    /// Sets a register to 64 bits.
    public mutating func load(_ register: Register, constant: UInt64) {
        instructions.append(
            Instruction(0x18, register, immediate: Int32(truncatingIfNeeded: constant)))
        instructions.append(
            Instruction(0x00, immediate: Int32(truncatingIfNeeded: constant >> 32)))
    }

    /// Sets a register to a map (BPF_PSEUDO_MAP_FD).
    public mutating func load(_ register: Register, map: BPFMap) {
        instructions.append(Instruction(0x18, register, 1, immediate: map.descriptor))
        instructions.append(Instruction(0x00))
    }

    // MARK: - Memory

    /// Loads from memory at a register and an offset.
    public mutating func load(
        _ width: Width, _ destination: Register, from base: Register, _ offset: Int
    ) {
        instructions.append(
            Instruction(
                0x61 | width.rawValue, destination, base.rawValue,
                offset: Int16(truncatingIfNeeded: offset)))
    }

    /// Stores a register to memory at a register and an offset.
    public mutating func store(
        _ width: Width, _ source: Register, to base: Register, _ offset: Int
    ) {
        instructions.append(
            Instruction(
                0x63 | width.rawValue, base, source.rawValue,
                offset: Int16(truncatingIfNeeded: offset)))
    }

    /// Stores a number to memory at a register and an offset.
    public mutating func store(
        _ width: Width, number: Int32, to base: Register, _ offset: Int
    ) {
        instructions.append(
            Instruction(
                0x62 | width.rawValue, base, offset: Int16(truncatingIfNeeded: offset),
                immediate: number))
    }

    /// Adds a register to 64 bits in memory, whoever else does so at the same time.
    public mutating func addAtomically(_ source: Register, to base: Register, _ offset: Int) {
        instructions.append(
            Instruction(
                0xdb, base, source.rawValue, offset: Int16(truncatingIfNeeded: offset)))
    }

    // MARK: - Calls

    /// Calls one of the kernel's functions with r1 to r5; the result is in r0.
    public mutating func call(_ helper: Helper) {
        instructions.append(Instruction(0x85, immediate: helper.rawValue))
    }

    /// Ends the program; r0 is what it returns.
    public mutating func exit() { instructions.append(Instruction(0x95)) }
}
