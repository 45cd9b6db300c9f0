//! The demo itself, as a person runs it.

use crate::city::City;

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_goes_from_images_to_answers_and_ends_with_how_long_ready_took() {
    let city = City::new().await;
    let last = city.demo.lines().last().unwrap();
    let seconds = last
        .strip_prefix("demo: Ready in ")
        .and_then(|rest| rest.strip_suffix(" s"));
    let seconds: u32 = seconds
        .unwrap_or_else(|| panic!("the last line is {last:?}"))
        .parse()
        .unwrap();
    assert!(seconds > 0, "Ready is not there before it is asked for");
    for words in [
        "found: type AirQualityObserved",
        "found: free parking spots",
        "found: car parks within 2 km of the centre",
        "by MQTT,",
        "occupied, then free",
        "requests without retry, 0 failed",
        "SIGKILL",
        "urbandataplatform.mim.city/city",
        "contextbroker.mim.city/city",
        "Try next:",
    ] {
        assert!(city.demo.contains(words), "{words:?} is not in\n{}", city.demo);
    }
}
