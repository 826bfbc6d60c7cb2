//! How interfaces are configured: Linux's `ip=` boot argument
//! (Documentation/admin-guide/nfs/nfsroot.rst of its source).

use abi::prelude::*;
use core::fmt;
use core::net::Ipv4Addr;
use smoltcp::wire::Ipv4Cidr;

/// How one interface gets its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Configuration {
    /// By DHCP.
    Lease,
    /// As written.
    Static(Network),
    /// Not at all.
    Off,
}

/// An interface's place in its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its address, and which others are in the same network.
    pub address: Ipv4Cidr,
    /// Where packets for other networks go.
    pub gateway: Option<Ipv4Addr>,
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(formatter)?;
        match self.gateway {
            Some(gateway) => write!(formatter, " via {gateway}"),
            None => Ok(()),
        }
    }
}

/// The configuration that the boot argument gives to one interface; the others use DHCP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    device: String,
    configuration: Configuration,
}

/// What is wrong with the boot argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingsError {
    /// More fields than Linux knows.
    TooManyFields(usize),
    /// A field that should be an IPv4 address isn't.
    Address {
        /// The field's name.
        field: &'static str,
        /// What it holds.
        text: String,
    },
    /// An address that no host can have.
    Host {
        /// The field's name.
        field: &'static str,
        /// What it holds.
        address: Ipv4Addr,
    },
    /// The netmask isn't ones followed by zeros.
    Netmask(Ipv4Addr),
    /// The way of configuration is none that this stack knows.
    Autoconfiguration(String),
}

/// `<client>:<server>:<gateway>:<netmask>:<hostname>:<device>:<autoconf>:<dns0>:<dns1>:<ntp>`.
const FIELDS: usize = 10;

impl Default for Settings {
    fn default() -> Self {
        Self { device: DEFAULT_DEVICE.into(), configuration: Configuration::Lease }
    }
}

const DEFAULT_DEVICE: &str = "eth0";

impl Settings {
    /// Reads the value of `ip=`. Server, host name, DNS and NTP servers have no use here and are passed over; trailing
    /// fields may be left out, and a single word is the way of configuration, as with Linux.
    ///
    /// # Errors
    /// [`SettingsError`] says which field is wrong.
    pub fn parse(value: &str) -> Result<Self, SettingsError> {
        let fields: Vec<&str> = value.split(':').collect();
        if fields.len() > FIELDS {
            return Err(SettingsError::TooManyFields(fields.len()));
        }
        if let [word] = fields.as_slice()
            && let Ok(configuration) = automatic(word)
        {
            return Ok(Self { configuration, ..Self::default() });
        }
        let field = |index: usize| fields.get(index).copied().unwrap_or_default();
        let client = address("client", field(0))?;
        let gateway = address("gateway", field(2))?;
        for (field, address) in [("client", client), ("gateway", gateway)] {
            if let Some(address) = address.filter(|address| !is_host(*address)) {
                return Err(SettingsError::Host { field, address });
            }
        }
        let netmask = address("netmask", field(3))?;
        let device = match field(5) {
            "" => DEFAULT_DEVICE,
            name => name,
        };
        let automatic = automatic(field(6))?;
        let configuration = match client {
            Some(client) => Configuration::Static(Network { address: network(client, netmask)?, gateway }),
            None => automatic,
        };
        Ok(Self { device: device.into(), configuration })
    }

    /// The configuration of the interface of that name.
    pub fn configuration(&self, name: &str) -> Configuration {
        if name == self.device { self.configuration } else { Configuration::Lease }
    }
}

/// A field that is an address, or empty; 0.0.0.0 stands for none, as with Linux.
fn address(field: &'static str, text: &str) -> Result<Option<Ipv4Addr>, SettingsError> {
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse::<Ipv4Addr>() {
        Ok(address) => Ok(Some(address).filter(|address| !address.is_unspecified())),
        Err(_) => Err(SettingsError::Address { field, text: text.into() }),
    }
}

/// Whether a single host can have this address and be reached at it.
pub fn is_host(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first != 0 && !address.is_loopback() && !address.is_multicast() && !address.is_broadcast()
}

/// The client's address in its network; without a netmask, in the network of its class (RFC 791, section 3.2).
fn network(client: Ipv4Addr, netmask: Option<Ipv4Addr>) -> Result<Ipv4Cidr, SettingsError> {
    let [first, ..] = client.octets();
    match netmask {
        Some(netmask) => Ipv4Cidr::from_netmask(client, netmask).map_err(|_| SettingsError::Netmask(netmask)),
        None => Ok(Ipv4Cidr::new(
            client,
            match first {
                0..128 => 8,
                128..192 => 16,
                192.. => 24,
            },
        )),
    }
}

fn automatic(text: &str) -> Result<Configuration, SettingsError> {
    match text {
        "" | "on" | "any" | "both" | "dhcp" => Ok(Configuration::Lease),
        "off" | "none" => Ok(Configuration::Off),
        _ => Err(SettingsError::Autoconfiguration(text.into())),
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the boot argument `ip` ")?;
        match self {
            Self::TooManyFields(count) => write!(formatter, "has {count} fields, the most is {FIELDS}"),
            Self::Address { field, text } => {
                write!(formatter, "has `{text}` where the {field}'s IPv4 address should be")
            }
            Self::Host { field, address } => write!(formatter, "gives the {field} {address}, which no host can have"),
            Self::Netmask(netmask) => {
                write!(formatter, "has the netmask {netmask}, which isn't ones followed by zeros")
            }
            Self::Autoconfiguration(text) => {
                write!(formatter, "asks for configuration by `{text}`, this stack knows dhcp and off")
            }
        }
    }
}

impl core::error::Error for SettingsError {}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn written(address: [u8; 4], prefix_length: u8, gateway: Option<[u8; 4]>) -> Configuration {
        Configuration::Static(Network {
            address: Ipv4Cidr::new(address.into(), prefix_length),
            gateway: gateway.map(Ipv4Addr::from),
        })
    }

    fn of_eth0(value: &str) -> Configuration {
        Settings::parse(value).unwrap().configuration("eth0")
    }

    #[test]
    fn a_static_address_as_people_write_it_for_linux() {
        let expected = written([10, 0, 2, 15], 24, Some([10, 0, 2, 2]));
        assert_eq!(of_eth0("10.0.2.15::10.0.2.2:255.255.255.0::eth0:off"), expected);
        assert_eq!(of_eth0("10.0.2.15::10.0.2.2:255.255.255.0"), expected);
        assert_eq!(of_eth0("10.0.2.15:10.0.2.4:10.0.2.2:255.255.255.0:host:eth0:none:1.1.1.1:8.8.8.8:"), expected);
        assert_eq!(of_eth0("192.168.7.1:::255.255.255.252"), written([192, 168, 7, 1], 30, None));
    }

    #[test]
    fn without_a_netmask_the_class_decides() {
        assert_eq!(of_eth0("10.1.2.3"), written([10, 1, 2, 3], 8, None));
        assert_eq!(of_eth0("172.16.2.3"), written([172, 16, 2, 3], 16, None));
        assert_eq!(of_eth0("192.168.2.3"), written([192, 168, 2, 3], 24, None));
    }

    #[test]
    fn words_and_empty_values_ask_for_dhcp_or_for_nothing() {
        for value in ["", "dhcp", "on", "any", "both", "::::::dhcp", ":::::", "0.0.0.0::::::dhcp"] {
            assert_eq!(of_eth0(value), Configuration::Lease, "{value}");
        }
        for value in ["off", "none", "::::::off"] {
            assert_eq!(of_eth0(value), Configuration::Off, "{value}");
        }
    }

    #[test]
    fn only_the_named_device_is_meant() {
        let settings = Settings::parse("10.0.2.15:::255.0.0.0::eth1:off").unwrap();
        assert_eq!(settings.configuration("eth0"), Configuration::Lease);
        assert_eq!(settings.configuration("eth1"), written([10, 0, 2, 15], 8, None));
        assert_eq!(Settings::default().configuration("eth0"), Configuration::Lease);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let message = |value: &str| Settings::parse(value).unwrap_err().to_string();
        assert_eq!(
            message("10.0.2::10.0.2.2:255.255.255.0"),
            "the boot argument `ip` has `10.0.2` where the client's IPv4 address should be"
        );
        assert_eq!(
            message("10.0.2.15::gateway:255.255.255.0"),
            "the boot argument `ip` has `gateway` where the gateway's IPv4 address should be"
        );
        assert_eq!(
            message("10.0.2.15::10.0.2.2:255.0.255.0"),
            "the boot argument `ip` has the netmask 255.0.255.0, which isn't ones followed by zeros"
        );
        assert_eq!(message("224.0.0.1"), "the boot argument `ip` gives the client 224.0.0.1, which no host can have");
        assert_eq!(
            message("::::::bootp"),
            "the boot argument `ip` asks for configuration by `bootp`, this stack knows dhcp and off"
        );
        assert_eq!(message("::::::::::"), "the boot argument `ip` has 11 fields, the most is 10");
        assert_eq!(message("dchp"), "the boot argument `ip` has `dchp` where the client's IPv4 address should be");
    }
}
