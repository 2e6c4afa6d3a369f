// swift-tools-version: 6.2
import PackageDescription

let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
]

/// Programs that throw malformed input at the parts that read untrusted bytes; `make soak` runs
/// them for long.
let package = Package(
    name: "portolan-fuzz",
    dependencies: [.package(name: "portolan", path: "..")],
    targets: [
        .executableTarget(
            name: "APIFuzz",
            dependencies: [
                .product(name: "FuzzSupport", package: "portolan"),
                .product(name: "KubernetesAPI", package: "portolan"),
                .product(name: "SPDY", package: "portolan"),
            ],
            swiftSettings: settings),
        .executableTarget(
            name: "DNSFuzz",
            dependencies: [
                .product(name: "DNS", package: "portolan"),
                .product(name: "FuzzSupport", package: "portolan"),
                .product(name: "NetworkTypes", package: "portolan"),
            ],
            swiftSettings: settings)
    ]
)
