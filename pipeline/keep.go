package pipeline

// movement is a split that moved on past some batches.
type movement struct {
	split   *split
	batches int
}

// keepPositions has the states of splits kept as they move on, so that no worker waits for a disk, and lets go of the batches
// that they moved past only then: whatever a crash may repeat has its place in the window. Splits that moved on meanwhile
// share a write. It ends when moves is closed.
func (r *run) keepPositions() error {
	for m := range r.moves {
		batches, splits := m.batches, []*split{m.split}
		seen := map[*split]bool{m.split: true}
		for range len(r.moves) {
			m := <-r.moves
			batches += m.batches
			if !seen[m.split] {
				seen[m.split] = true
				splits = append(splits, m.split)
			}
		}
		if err := r.keepSplits(splits); err != nil {
			return keeping(err)
		}
		for range batches {
			<-r.window
		}
	}
	return nil
}

// keepSplits has the states of splits kept, in one write: so that a crash can't undo it, if anything was sent on their way. What
// was committed with the events need not be kept here as well, but for the sake of the counts.
func (r *run) keepSplits(splits []*split) error {
	owed := false
	for _, s := range splits {
		owed = owed || r.committer == nil && s.owes()
	}
	for i, s := range splits {
		if err := s.keep(r.Journal, owed && i == len(splits)-1); err != nil {
			return err
		}
	}
	if owed {
		for _, s := range splits {
			s.settle()
		}
	}
	return nil
}

// owes reports whether something was sent behind what was durably kept.
func (s *split) owes() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent > s.durable
}

// keep has the state kept if it moved on since, or must be durable.
func (s *split) keep(j Journal, durable bool) error {
	s.keeping.Lock()
	defer s.keeping.Unlock()
	s.mu.Lock()
	state, low := s.state, s.low
	s.mu.Unlock()
	if low == s.kept && !durable {
		return nil
	}
	if err := j.Split(s.Collection.Name, state, durable); err != nil {
		return err
	}
	s.kept = low
	return nil
}

// settle notes that what was kept last is durable.
func (s *split) settle() {
	s.keeping.Lock()
	defer s.keeping.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.durable = s.kept
}

// keepDone has the state of a split kept that is done. Nothing older comes after it.
func (s *split) keepDone(j Journal, state SplitState, durable bool) error {
	s.keeping.Lock()
	defer s.keeping.Unlock()
	return j.Split(s.Collection.Name, state, durable)
}
