// swift-tools-version: 6.2
import PackageDescription

/// Every target is built in the Swift 6 language mode, with warnings as errors.
let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .treatAllWarnings(as: .error),
    // Generic code (informers, work queues, locks) is specialized where another target uses it, and
    // small functions are inlined across targets: docs/decisions/060.
    .unsafeFlags(["-cross-module-optimization"], .when(configuration: .release)),
]

func library(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

func tests(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .testTarget(
        name: name + "Tests",
        dependencies: [.target(name: name)] + dependencies,
        swiftSettings: settings)
}

let package = Package(
    name: "portolan",
    products: [
        .executable(name: "portolan", targets: ["portolan"]),
        // For Benchmarks/ and Fuzz/, which are packages of their own.
        .library(name: "DNS", targets: ["DNS"]),
        .library(name: "DNSServer", targets: ["DNSServer"]),
        .library(name: "FuzzSupport", targets: ["FuzzSupport"]),
        .library(name: "KubernetesAPI", targets: ["JSON", "KubernetesAPI"]),
        .library(name: "NetworkTypes", targets: ["NetworkTypes"]),
        .library(name: "SPDY", targets: ["SPDY"]),
        .library(
            name: "ServiceProxy",
            targets: ["CLinux", "Informer", "JSON", "KubernetesAPI", "ServiceProxy"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-asn1", from: "1.7.0"),
        .package(url: "https://github.com/apple/swift-certificates", from: "1.21.0"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
        .package(url: "https://github.com/apple/swift-nio-http2", from: "1.46.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.0"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.0"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: [
        .target(name: "CLinux"),
        library("NetworkTypes"),
        library("JSON"),
        .systemLibrary(name: "CZlib", providers: [.apt(["zlib1g-dev"])]),
        library("SPDY", ["CZlib"]),
        library("KubernetesAPI", ["JSON", "NetworkTypes"]),
        library(
            "Store",
            [
                "JSON", "KubernetesAPI",
                .product(name: "GRDB", package: "GRDB.swift"),
            ]),
        library(
            "Informer",
            [
                "JSON", "KubernetesAPI",
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOFoundationCompat", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "Yams", package: "Yams"),
            ]),
        library(
            "APIServer",
            [
                "Informer", "JSON", "KubernetesAPI", "NetworkTypes", "SPDY", "Store",
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOHTTP2", package: "swift-nio-http2"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "NIOTLS", package: "swift-nio"),
                .product(name: "NIOWebSocket", package: "swift-nio"),
                .product(name: "SwiftASN1", package: "swift-asn1"),
                .product(name: "X509", package: "swift-certificates"),
                .product(name: "Yams", package: "Yams"),
            ]),
        library(
            "Controllers",
            [
                "Informer", "JSON", "KubernetesAPI", "NetworkTypes",
                .product(name: "Logging", package: "swift-log"),
            ]),
        library(
            "AddressPools",
            [
                "Informer", "JSON", "KubernetesAPI", "NetworkTypes",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Yams", package: "Yams"),
            ]),
        library("BPF", ["CLinux"]),
        library("Netlink", ["CLinux", "NetworkTypes"]),
        library("NFTables", ["CLinux", "Netlink", "NetworkTypes"]),
        library(
            "ServiceProxy",
            [
                "BPF", "CLinux", "Informer", "JSON", "KubernetesAPI", "NFTables", "Netlink",
                "NetworkTypes",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "Yams", package: "Yams"),
            ]),
        library("DNS", ["NetworkTypes"]),
        library(
            "DNSServer",
            [
                "CLinux", "DNS", "Informer", "JSON", "KubernetesAPI", "NetworkTypes",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "NIOTLS", package: "swift-nio"),
            ]),
        library("ARP", ["NetworkTypes"]),
        library("BGP", ["NetworkTypes"]),
        library(
            "Speaker",
            [
                "ARP", "AddressPools", "CLinux", "Informer", "JSON", "KubernetesAPI", "Netlink",
                "NetworkTypes",
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "Logging", package: "swift-log"),
            ]),
        library(
            "PodRuntime",
            [
                "CLinux", "Informer", "JSON", "KubernetesAPI", "NFTables", "Netlink",
                "NetworkTypes",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "NIOWebSocket", package: "swift-nio"),
                .product(name: "SwiftASN1", package: "swift-asn1"),
                .product(name: "X509", package: "swift-certificates"),
            ]),
        library(
            "Commands",
            [
                "APIServer", "AddressPools", "CLinux", "Controllers", "DNS", "DNSServer",
                "Informer",
                "JSON", "KubernetesAPI", "NFTables", "Netlink", "NetworkTypes", "PodRuntime",
                "ServiceProxy",
                "Speaker", "Store",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "Yams", package: "Yams"),
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ]),
        .executableTarget(
            name: "portolan", dependencies: ["Commands"], swiftSettings: settings),
        library("FuzzSupport"),
        library("TestSupport", ["CLinux", "JSON", "Netlink", "NetworkTypes"]),
        tests("NetworkTypes"),
        tests("JSON"),
        tests("SPDY"),
        tests("KubernetesAPI", ["JSON", "NetworkTypes"]),
        tests("Store", ["JSON", "KubernetesAPI", "TestSupport"]),
        tests(
            "Informer",
            ["JSON", "KubernetesAPI", .product(name: "Logging", package: "swift-log")]),
        tests(
            "APIServer",
            [
                "Informer", "JSON", "KubernetesAPI", "NetworkTypes", "Store", "TestSupport",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ]),
        tests(
            "Controllers",
            [
                "APIServer", "Informer", "JSON", "KubernetesAPI", "NetworkTypes", "Store",
                "TestSupport",
            ]),
        tests("AddressPools", ["Informer", "JSON", "KubernetesAPI", "NetworkTypes"]),
        tests("BPF"),
        tests("Netlink", ["CLinux", "NetworkTypes", "TestSupport"]),
        tests("NFTables", ["CLinux", "JSON", "Netlink", "NetworkTypes", "TestSupport"]),
        tests(
            "ServiceProxy",
            [
                "BPF", "Informer", "JSON", "KubernetesAPI", "NFTables", "Netlink",
                "NetworkTypes", "TestSupport", .product(name: "Logging", package: "swift-log"),
            ]),
        tests("DNS", ["NetworkTypes"]),
        .testTarget(
            name: "DNSServerTests",
            dependencies: [
                "DNS", "DNSServer", "FuzzSupport", "Informer", "JSON", "KubernetesAPI", "Netlink",
                "NetworkTypes", "TestSupport",
            ],
            exclude: ["Scenarios"], swiftSettings: settings),
        tests("ARP", ["NetworkTypes"]),
        tests("BGP", ["NetworkTypes"]),
        tests(
            "Speaker",
            [
                "ARP", "AddressPools", "Informer", "JSON", "KubernetesAPI", "Netlink",
                "NetworkTypes",
                "TestSupport",
            ]),
        tests(
            "PodRuntime",
            [
                "Informer", "JSON", "KubernetesAPI", "NFTables", "Netlink", "NetworkTypes",
                "TestSupport", .product(name: "Logging", package: "swift-log"),
            ]),
        tests(
            "Commands",
            [
                "JSON", "KubernetesAPI", "NetworkTypes",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ]),
        .testTarget(
            name: "EndToEndTests",
            dependencies: [
                "JSON", "KubernetesAPI", "NFTables", "Netlink", "NetworkTypes", "ServiceProxy",
                "TestSupport",
            ],
            swiftSettings: settings),
    ]
)
