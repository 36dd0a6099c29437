//! One of the devices that a driver lists. Shared with the tests of `diffprune-device-tests`.

use std::fmt::Debug;

/// The devices in the order in which an index counts them: the `preferred` kinds first, as far as they were found.
#[cfg(any(test, feature = "wgpu", feature = "vulkan"))]
pub fn ordered<D: Clone + PartialEq>(found: Vec<D>, preferred: impl IntoIterator<Item = D>) -> Vec<D> {
    let mut order: Vec<D> = preferred
        .into_iter()
        .filter(|device| found.contains(device))
        .collect();
    let others = found.into_iter().filter(|device| !order.contains(device));
    let others: Vec<D> = others.collect();
    order.extend(others);
    order
}

/// The device of that index among those found.
///
/// # Errors
/// When none was found or none has that index; then it says what was found. A device that is first used without being
/// there ends the process, so this must be asked before the first tensor.
pub fn choose<D: Clone + Debug>(backend: &str, found: &[D], index: usize) -> Result<D, String> {
    if let Some(device) = found.get(index) {
        return Ok(device.clone());
    }
    if found.is_empty() {
        return Err(format!(
            "device: found no driver or adapter for {backend}; install the driver (on Debian `mesa-vulkan-drivers` \
             computes on the CPU, for wgpu) or use --device cpu"
        ));
    }
    let listed = found.iter().enumerate();
    let listed: Vec<String> = listed
        .map(|(index, device)| format!("{backend}:{index} = {device:?}"))
        .collect();
    Err(format!(
        "device: found {}, wanted {backend}:{index}; use an index of the list or none",
        listed.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    enum Adapter {
        Discrete(usize),
        Integrated(usize),
        Software,
        Other,
    }
    use Adapter::{Discrete, Integrated, Other, Software};

    fn preferred() -> Vec<Adapter> {
        vec![Discrete(0), Discrete(1), Integrated(0), Software]
    }

    #[test]
    fn an_index_counts_what_is_there() {
        // A machine without a GPU has its software adapter at 0, one with an integrated GPU that.
        for (found, first) in [
            (vec![Software], Software),
            (vec![Integrated(0)], Integrated(0)),
            (vec![Software, Integrated(0), Discrete(0)], Discrete(0)),
            (vec![Other], Other),
        ] {
            let order = ordered(found, preferred());
            assert_eq!(choose("wgpu", &order, 0), Ok(first));
        }
        let order = ordered(
            vec![Software, Other, Integrated(0), Discrete(1), Discrete(0)],
            preferred(),
        );
        assert_eq!(order, [Discrete(0), Discrete(1), Integrated(0), Software, Other]);
        assert_eq!(choose("wgpu", &order, 3), Ok(Software));
    }

    #[test]
    fn an_index_beyond_tells_what_was_found() {
        let error = choose("vulkan", &[Integrated(0), Software], 2).unwrap_err();
        assert_eq!(
            error,
            "device: found vulkan:0 = Integrated(0), vulkan:1 = Software, wanted vulkan:2; use an index of the list or \
             none"
        );
        let error = choose::<Adapter>("cuda", &[], 0).unwrap_err();
        assert!(error.contains("found no driver or adapter for cuda"), "{error}");
    }
}
