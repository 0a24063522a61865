//! Bar and line charts as SVG, from the figures of a run.

use plotters::prelude::*;
use std::{error::Error, path::Path};

const INK: RGBColor = RGBColor(36, 41, 47);
const BARS: [RGBColor; 4] = [RGBColor(31, 111, 235), RGBColor(191, 135, 0), RGBColor(26, 127, 55), RGBColor(207, 34, 46)];

/// Horizontal bars, with their values beside them.
pub fn bars(file: &Path, title: &str, unit: &str, bars: &[(String, f64)]) -> Result<(), Box<dyn Error>> {
    let height = 70 + 34 * u32::try_from(bars.len())?;
    let root = SVGBackend::new(file, (860, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let text = |size: i32| TextStyle::from(("sans-serif", size).into_font()).color(&INK);
    root.draw_text(title, &text(18), (16, 14))?;
    let most = bars.iter().map(|(_, v)| *v).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    for (n, (name, value)) in bars.iter().enumerate() {
        let top = 54 + 34 * i32::try_from(n)?;
        #[expect(clippy::cast_possible_truncation, reason = "a width in pixels")]
        let width = (value / most * 400.0) as i32;
        root.draw_text(name, &text(14), (16, top + 4))?;
        root.draw(&Rectangle::new([(330, top), (330 + width.max(1), top + 22)], BARS[n % BARS.len()].filled()))?;
        root.draw_text(&format!("{} {unit}", crate::figures::number(*value)), &text(14), (338 + width, top + 4))?;
    }
    Ok(root.present()?)
}

/// One line of a chart over sizes.
pub type Line = (String, Vec<(f64, f64)>);

/// Lines over a logarithmic axis of sizes.
pub fn over_sizes(file: &Path, title: &str, unit: &str, lines: &[Line]) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(file, (860, 420)).into_drawing_area();
    root.fill(&WHITE)?;
    let points = || lines.iter().flat_map(|(_, points)| points);
    let (from, to) = points().fold((f64::MAX, f64::MIN), |(a, b), (x, _)| (a.min(*x), b.max(*x)));
    let top = points().map(|(_, y)| *y).fold(0.0, f64::max) * 1.15;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 18).into_font().color(&INK))
        .margin(16)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d((from..to).log_scale(), 0.0..top)?;
    chart.configure_mesh().x_desc("users").y_desc(unit).x_label_formatter(&|x| format!("{x:.0}")).draw()?;
    for (n, (name, points)) in lines.iter().enumerate() {
        let colour = BARS[n % BARS.len()];
        chart
            .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(3)).point_size(4))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], colour.stroke_width(3)));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(INK).draw()?;
    Ok(root.present()?)
}
