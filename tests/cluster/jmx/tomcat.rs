//! A real Tomcat.

use super::*;
use crate::jvms::Jvm;

#[tokio::test(flavor = "multi_thread")]
async fn a_tomcat_is_watched_by_the_starter_counters() {
    let (tomcat, http) = Jvm::tomcat();
    let plane = Plane::start(1).await;
    let starter =
        plane.cli_ok(&["jmx", "starter-counters", "--tomcat", "--interval", "1s", "--cluster", "web"]);
    plane.apply(&(web("web01", "tomcat") + &profile("tomcat", tomcat.port, "") + "---\n" + &starter));
    value(&plane, "tomcat-threads").await;
    let url = format!("http://127.0.0.1:{http}/");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    until("requests and errors to be counted", PATIENCE, || async {
        for path in ["index.html", "none"] {
            let answer =
                client.get(format!("{url}{path}")).send().await.map_err(|error| error.to_string())?;
            assert_eq!(answer.status().as_u16(), if path == "none" { 404 } else { 200 });
        }
        let mut seen = Vec::new();
        for counter in ["tomcat-requests", "tomcat-errors"] {
            seen.extend(series(&plane, counter).await);
        }
        let name = format!("http-nio-127.0.0.1-{http}");
        let counted = seen.iter().filter(|series| series.2 > 0.0 && series.1 == name).count();
        if counted == 2 { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    assert_eq!(value(&plane, "tomcat-sessions").await, 0.0);
    assert!(series(&plane, "tomcat-sessions").await[0].1.contains("context=/"));
    assert!(value(&plane, "jvm-classes").await > 1000.0);
}
