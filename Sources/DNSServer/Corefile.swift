/// A Corefile that cannot be used, with the line.
public struct CorefileError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The line, counted from 1.
    public let line: Int
    /// What is wrong there and what is possible.
    public let message: String

    /// `line 3: …`
    public var description: String { "line \(line): \(message)" }
}

/// CoreDNS' configuration file as a tree: server blocks, each with plugins and their options.
public struct Corefile: Equatable, Sendable {
    /// Words of one line, and the lines in the braces after it.
    public struct Directive: Equatable, Sendable {
        /// The line, counted from 1.
        public var line: Int
        /// The words; the first is the plugin's or option's name.
        public var words: [String]
        /// What stands in braces.
        public var block: [Directive]

        /// The name.
        public var name: String { words[0] }
        /// The words after the name.
        public var arguments: ArraySlice<String> { words.dropFirst() }
    }

    /// The server blocks; their words are the zones they serve.
    public var servers: [Directive]

    /// The largest Corefile that is read: a ConfigMap's own bound, 1 MiB.
    static let sizeLimit = 1 << 20

    /// Parses a Corefile: words, quotes, `#` comments, braces. Snippets and `import` are not
    /// supported.
    /// - Throws: `CorefileError`.
    public init(parsing text: String) throws(CorefileError) {
        guard text.utf8.count <= Self.sizeLimit else {
            throw CorefileError(line: 1, message: "the file is larger than 1 MiB")
        }
        var lines = try Self.tokenize(text)[...]
        servers = []
        while !lines.isEmpty {
            let server = try Self.directive(&lines, depth: 0)
            guard !server.name.hasPrefix("("), server.name != "import" else {
                throw CorefileError(
                    line: server.line,
                    message: "snippets and import are not supported; write the "
                        + "plugins out")
            }
            servers.append(server)
        }
    }

    private typealias Line = (number: Int, words: [String])

    private static func tokenize(_ text: String) throws(CorefileError) -> [Line] {
        var lines: [Line] = []
        for (index, raw) in text.split(separator: "\n", omittingEmptySubsequences: false)
            .enumerated()
        {
            var words: [String] = []
            var word = ""
            var isQuoted = false
            var hasWord = false
            for character in raw {
                if character == "\"" {
                    isQuoted.toggle()
                    hasWord = true
                } else if isQuoted {
                    word.append(character)
                } else if character == "#", word.isEmpty {
                    break
                } else if character.isWhitespace {
                    if hasWord { words.append(word) }
                    (word, hasWord) = ("", false)
                } else {
                    word.append(character)
                    hasWord = true
                }
            }
            if isQuoted {
                throw CorefileError(line: index + 1, message: "a quote is not closed")
            }
            if hasWord { words.append(word) }
            if !words.isEmpty { lines.append((index + 1, words)) }
        }
        return lines
    }

    private static func directive(
        _ lines: inout ArraySlice<Line>, depth: Int
    ) throws(CorefileError) -> Directive {
        guard let line = lines.first else {
            throw CorefileError(line: 1, message: "a directive is missing")
        }
        guard depth < 4 else {
            throw CorefileError(line: line.number, message: "braces are nested too deeply")
        }
        lines = lines.dropFirst()
        var result = Directive(line: line.number, words: line.words, block: [])
        // `{` may stand on the same line, or, as Caddy's grammar allows, end a list of zones that
        // goes over several lines.
        while depth == 0, result.words.last != "{", result.words.last?.hasSuffix("{") != true,
            let next = lines.first
        {
            result.words += next.words
            lines = lines.dropFirst()
        }
        guard result.words.last == "{" else {
            if depth == 0 {
                throw CorefileError(line: line.number, message: "a server block needs braces")
            }
            return result
        }
        result.words.removeLast()
        guard !result.words.isEmpty else {
            throw CorefileError(line: line.number, message: "a brace follows nothing")
        }
        while let next = lines.first {
            if next.words == ["}"] {
                lines = lines.dropFirst()
                return result
            }
            result.block.append(try directive(&lines, depth: depth + 1))
        }
        throw CorefileError(line: line.number, message: "the brace opened here is not closed")
    }
}
