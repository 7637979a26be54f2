//! Redrawing a text on a terminal: never more lines than the terminal has, and none longer than it is wide, or the top
//! would scroll away and every redraw would leave another copy behind. For `kinex run` and for `kinex monitor --watch`.

use std::os::fd::AsFd;

/// What a terminal is taken to be that does not tell its size.
const DEFAULT: (usize, usize) = (24, 80);

/// A text in three parts, of which the middle one gives way when there is too little room.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frame {
    /// What stands at the top.
    pub(crate) head: Vec<String>,
    /// Lines of one kind.
    pub(crate) body: Vec<String>,
    /// What stands at the bottom; its last line is the last to go.
    pub(crate) tail: Vec<String>,
}

impl Frame {
    /// The lines that fit. One row stays free for the cursor.
    fn fitted(self, rows: usize, columns: usize) -> Vec<String> {
        let Self { head, mut body, tail } = self;
        let room = rows.saturating_sub(1).max(1);
        let for_body = room.saturating_sub(head.len() + tail.len());
        if body.len() > for_body {
            let more = body.len() - for_body.saturating_sub(1);
            body.truncate(for_body.saturating_sub(1));
            if for_body > 0 {
                body.push(format!("... and {more} more"));
            }
        }
        let mut lines = [head, body, tail].concat();
        while lines.len() > room {
            let empty = lines.iter().position(|line| line.trim().is_empty());
            lines.remove(empty.unwrap_or(0));
        }
        lines
            .into_iter()
            .map(|line| line.chars().take(columns).collect::<String>().trim_end().to_owned())
            .collect()
    }
}

/// What was drawn last.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    widths: Vec<usize>,
}

impl Screen {
    /// What to write so that the frame stands where the one before it stood, on a terminal of this size now.
    pub(crate) fn redraw(&mut self, frame: Frame, (rows, columns): (usize, usize)) -> String {
        let lines = frame.fitted(rows, columns);
        // A terminal that has become narrower has wrapped what was drawn; one that has become lower has no more of it.
        let height: usize = self
            .widths
            .iter()
            .map(|width| width.div_ceil(columns.max(1)).max(1))
            .sum();
        let up = height.min(rows.saturating_sub(1));
        let mut text = if up > 0 {
            format!("\x1b[{up}A\r\x1b[J")
        } else {
            String::new()
        };
        self.widths = lines.iter().map(|line| line.chars().count()).collect();
        for line in lines {
            text += &line;
            text.push('\n');
        }
        text
    }

    /// Leaves what is drawn where it is: what is drawn next goes below it.
    pub(crate) fn leave(&mut self) {
        self.widths.clear();
    }
}

/// Rows and columns of a terminal.
pub(crate) fn size(terminal: impl AsFd) -> (usize, usize) {
    match rustix::termios::tcgetwinsize(terminal) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row.into(), size.ws_col.into()),
        _ => DEFAULT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(body: usize) -> Frame {
        let lines = |name: &str, count: usize| (0..count).map(|n| format!("{name}{n}")).collect();
        Frame {
            head: lines("head", 2),
            body: lines("body", body),
            tail: vec![String::new(), "shards".to_owned(), "verdict".to_owned()],
        }
    }

    fn check(body: usize, rows: usize, columns: usize, expected: &str) {
        let drawn = Screen::default().redraw(frame(body), (rows, columns));
        assert_eq!(drawn.lines().collect::<Vec<_>>().join("|"), expected);
        assert!(drawn.lines().count() < rows.max(2), "{drawn}");
    }

    #[test]
    fn a_frame_never_has_more_lines_than_the_terminal() {
        check(2, 10, 80, "head0|head1|body0|body1||shards|verdict");
        check(5, 9, 80, "head0|head1|body0|body1|... and 3 more||shards|verdict");
        check(5, 6, 80, "head0|head1||shards|verdict");
        check(5, 4, 80, "head1|shards|verdict");
        check(5, 1, 80, "verdict");
    }

    #[test]
    fn a_line_is_cut_at_the_edge() {
        check(1, 24, 5, "head0|head1|body0||shard|verdi");
    }

    #[test]
    fn blank_line_goes_first_and_no_line_ends_in_spaces() {
        let frame = || Frame {
            head: vec!["run  1 s".to_owned()],
            body: vec!["  worker  ".to_owned()],
            tail: vec!["  shards".to_owned(), "  ".to_owned()],
        };
        let drawn = |rows| Screen::default().redraw(frame(), (rows, 5));
        assert_eq!(drawn(24), "run\n  wor\n  sha\n\n");
        assert_eq!(drawn(3), "run\n  sha\n");
    }

    #[test]
    fn a_redraw_goes_up_as_far_as_the_last_one_came_down() {
        let mut screen = Screen::default();
        assert!(!screen.redraw(frame(1), (24, 80)).contains('\x1b'));
        assert!(screen.redraw(frame(3), (24, 80)).starts_with("\x1b[6A\r\x1b[J"));
        assert!(screen.redraw(frame(0), (24, 80)).starts_with("\x1b[8A\r\x1b[J"));
        screen.leave();
        assert!(!screen.redraw(frame(1), (24, 80)).contains('\x1b'));
    }

    #[test]
    fn a_redraw_on_a_narrower_terminal_counts_the_wrapped_lines() {
        let mut screen = Screen::default();
        screen.redraw(frame(0), (24, 80));
        // head0 head1 "" shards verdict on four columns: 2 + 2 + 1 + 2 + 2.
        assert!(screen.redraw(frame(0), (24, 4)).starts_with("\x1b[9A\r\x1b[J"));
        screen.redraw(frame(9), (24, 80));
        assert!(screen.redraw(frame(9), (6, 80)).starts_with("\x1b[5A\r\x1b[J"));
    }
}
